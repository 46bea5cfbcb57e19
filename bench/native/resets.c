/* resets PORT RATE AUTHORITY: streams of HTTP/2 opened and reset at once, RATE of them a second, until SIGINT.

   One TLS 1.3 connection at a time, as one abusive peer would have it: when the proxy ends it, the next one is opened at
   once. Frames are written in portions of a millisecond's worth; portions that were missed meanwhile are not caught up
   with, so that no burst is longer than that. At the end it prints what was sent and how many connections that took. */

#include "client.h"
#include <poll.h>
#include <time.h>

enum { headBytesMax = 256, portionsPerSecond = 1000, streamsMax = 0x3fffffff };

static unsigned char head[headBytesMax];
static size_t headBytes;
static const unsigned char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void literal(const char *name, const char *value) {
    head[headBytes++] = 0x10; /* never indexed, a new name */
    head[headBytes++] = (unsigned char)strlen(name);
    memcpy(head + headBytes, name, strlen(name));
    headBytes += strlen(name);
    head[headBytes++] = (unsigned char)strlen(value);
    memcpy(head + headBytes, value, strlen(value));
    headBytes += strlen(value);
}

static unsigned char *frame(unsigned char *at, size_t length, int kind, int flags, uint32_t stream) {
    *at++ = (unsigned char)(length >> 16);
    *at++ = (unsigned char)(length >> 8);
    *at++ = (unsigned char)length;
    *at++ = (unsigned char)kind;
    *at++ = (unsigned char)flags;
    for (int shift = 24; shift >= 0; shift -= 8) *at++ = (unsigned char)(stream >> shift);
    return at;
}

/* HEADERS that ends the request, and RST_STREAM with CANCEL. */
static unsigned char *stream(unsigned char *at, uint32_t number) {
    at = frame(at, headBytes, 1, 5, number);
    memcpy(at, head, headBytes);
    at = frame(at + headBytes, 4, 3, 0, number);
    memcpy(at, "\0\0\0\10", 4);
    return at + 4;
}

/* Throws away what came; 0 once the connection is over. */
static int forget(SSL *tls) {
    static char bytes[4 * recordBytes];
    for (;;) {
        int result = SSL_read(tls, bytes, sizeof bytes);
        if (result > 0) continue;
        int error = SSL_get_error(tls, result);
        ERR_clear_error();
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    }
}

/* Writes all of it, or gives up when the connection is over. */
static int pour(SSL *tls, const unsigned char *bytes, size_t count) {
    size_t sent = 0;
    while (sent < count && !isStopped) {
        int result = SSL_write(tls, bytes + sent, (int)(count - sent));
        if (result > 0) {
            sent += (size_t)result;
            continue;
        }
        int error = SSL_get_error(tls, result);
        ERR_clear_error();
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return 0;
        struct pollfd one = {.fd = SSL_get_fd(tls), .events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};
        poll(&one, 1, 1000);
        if (!forget(tls)) return 0;
    }
    return !isStopped;
}

static SSL *openConnection(int port, SSL_CTX *context) {
    SSL *tls = connectTo(port, context);
    while (!isStopped) {
        int result = SSL_do_handshake(tls);
        if (result == 1) return tls;
        int error = SSL_get_error(tls, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail("handshake");
        struct pollfd one = {.fd = SSL_get_fd(tls), .events = error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};
        poll(&one, 1, 1000);
    }
    return tls;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: resets PORT RATE AUTHORITY\n");
        return 64;
    }
    int port = (int)number(arguments[1], 65535);
    uint64_t rate = number(arguments[2], 1000000);
    size_t portion = (size_t)(rate / portionsPerSecond);
    if (portion == 0) refuse("a thousand a second at least", "", 0);
    stopOnSignals();
    literal(":method", "GET");
    literal(":scheme", "https");
    literal(":path", "/");
    literal(":authority", arguments[3]);
    SSL_CTX *context = makeContext();
    static const unsigned char protocols[] = "\2h2";
    if (SSL_CTX_set_alpn_protos(context, protocols, 3) != 0) fail("ALPN");
    unsigned char *bytes = malloc(portion * (headBytes + 32));
    if (bytes == NULL) fail("malloc");

    uint64_t resets = 0, connections = 0, start = now(), next = start;
    while (!isStopped) {
        SSL *tls = openConnection(port, context);
        connections++;
        int isOpen = pour(tls, hello, sizeof hello - 1);
        for (uint32_t last = 1; isOpen && last < streamsMax;) {
            uint64_t time = now();
            if (time < next) {
                struct timespec wait = {.tv_nsec = (long)(next - time)};
                nanosleep(&wait, NULL);
            }
            next = (time > next ? time : next) + 1000000000 / portionsPerSecond;
            unsigned char *end = bytes;
            for (size_t i = 0; i < portion; i++, last += 2) end = stream(end, last);
            isOpen = pour(tls, bytes, (size_t)(end - bytes)) && forget(tls);
            resets += portion;
        }
        close(SSL_get_fd(tls));
        SSL_free(tls);
    }
    double seconds = (double)(now() - start) / 1e9;
    printf("BENCH {\"resets\": %llu, \"per_second\": %.0f, \"connections\": %llu}\n", (unsigned long long)resets,
        (double)resets / seconds, (unsigned long long)connections);
    return 0;
}
