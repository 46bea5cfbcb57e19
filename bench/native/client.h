/* What the TLS load tools share: one thread, epoll with edges, OpenSSL on its own descriptors, answers that must be right.

   A tool gives each connection to `watchOnce` and drives it from then on whenever epoll names it, as far as it goes.
   Everything that is not a 200 with a Content-Length ends the program: a load that meets errors measures nothing. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { recordBytes = 16384, eventsMax = 256 };

/* No tool needs all of what follows. */
#pragma GCC diagnostic ignored "-Wunused-function"

static volatile sig_atomic_t isStopped;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void refuse(const char *what, const char *bytes, size_t count) {
    fprintf(stderr, "%s: %.*s\n", what, (int)(count < 400 ? count : 400), bytes);
    exit(1);
}

static void stop(int number) {
    (void)number;
    isStopped = 1;
}

/* SIGINT and SIGTERM end the measurement; a wait for events returns then, because nothing is restarted. */
static void stopOnSignals(void) {
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Certificates are not checked: they were made a moment ago by the same harness. */
static SSL_CTX *makeContext(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1
        || SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1
        || SSL_CTX_set1_groups_list(context, "X25519") != 1)
        fail("TLS");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

/* A TLS connection to a loopback port, whose handshake goes on when it is used. */
static SSL *connectTo(int port, SSL_CTX *context) {
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (descriptor < 0 || setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("socket");
    if (connect(descriptor, (struct sockaddr *)&name, sizeof name) != 0 && errno != EINPROGRESS) fail("connect");
    SSL *tls = SSL_new(context);
    if (tls == NULL || SSL_set_fd(tls, descriptor) != 1 || SSL_set_tlsext_host_name(tls, "localhost") != 1)
        fail("SSL_new");
    SSL_set_connect_state(tls);
    return tls;
}

/* Asks for every edge of both directions, once and for all. */
static void watchOnce(int epoll, SSL *tls, void *connection) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, SSL_get_fd(tls), &event) != 0) fail("epoll_ctl");
}

static void closeGracefully(SSL *tls) {
    SSL_shutdown(tls);
    close(SSL_get_fd(tls));
    SSL_free(tls);
}

/* What a result of OpenSSL means: bytes that moved, or 0 for "wait for the next edge". */
static size_t moved(SSL *tls, int result, const char *what) {
    if (result > 0) return (size_t)result;
    int error = SSL_get_error(tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        ERR_clear_error();
        return 0;
    }
    if (error == SSL_ERROR_ZERO_RETURN) refuse(what, "the proxy closed the connection", 31);
    fail(what);
    return 0;
}

/* One answer while it arrives. */
struct answer {
    char head[8192];
    size_t headBytes;
    uint64_t bodyRemaining;
    int hasHead;
};

static void readHead(struct answer *answer, size_t headBytes) {
    const char *end = answer->head + headBytes;
    if (headBytes < 13 || memcmp(answer->head, "HTTP/1.1 200", 12) != 0) refuse("answer", answer->head, headBytes);
    for (const char *line = answer->head; line < end; line = (char *)memchr(line, '\n', (size_t)(end - line)) + 1) {
        if (strncasecmp(line, "content-length:", 15) != 0) continue;
        answer->bodyRemaining = strtoull(line + 15, NULL, 10);
        answer->hasHead = 1;
        return;
    }
    refuse("no Content-Length", answer->head, headBytes);
}

/* Takes what came in; 1 once the answer is complete. Nothing may come behind it: nobody asked. */
static int take(struct answer *answer, const char *bytes, size_t count) {
    if (!answer->hasHead) {
        size_t room = sizeof answer->head - answer->headBytes, kept = count < room ? count : room;
        memcpy(answer->head + answer->headBytes, bytes, kept);
        char *blank = memmem(answer->head, answer->headBytes + kept, "\r\n\r\n", 4);
        if (blank == NULL) {
            if (kept < count) refuse("head too long", answer->head, answer->headBytes);
            answer->headBytes += kept;
            return 0;
        }
        size_t headBytes = (size_t)(blank + 4 - answer->head), before = headBytes - answer->headBytes;
        readHead(answer, headBytes);
        bytes += before;
        count -= before;
    }
    if (count > answer->bodyRemaining) refuse("bytes behind the answer", bytes, count);
    answer->bodyRemaining -= count;
    if (answer->bodyRemaining > 0) return 0;
    answer->hasHead = 0;
    answer->headBytes = 0;
    return 1;
}

/* Reads until the answer is complete (1) or nothing is there (0). */
static int receiveAnswer(SSL *tls, struct answer *answer) {
    static char bytes[4 * recordBytes];
    for (;;) {
        size_t count = moved(tls, SSL_read(tls, bytes, sizeof bytes), "read");
        if (count == 0) return 0;
        if (take(answer, bytes, count)) return 1;
    }
}

static uint64_t number(const char *text, uint64_t largest) {
    char *rest;
    uint64_t value = strtoull(text, &rest, 10);
    if (rest == text || *rest != 0 || value > largest) {
        fprintf(stderr, "not a number up to %llu: %s\n", (unsigned long long)largest, text);
        exit(64);
    }
    return value;
}
