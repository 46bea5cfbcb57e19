/* What the two forwarders share: one thread, epoll with edges, OpenSSL, kept connections to one upstream.

   They are no proxies. They are what remains of one when all is left out that makes it one: nothing is checked,
   limited, logged or timed, and no field is changed. What they cost is what sockets, TLS and (forward2) HPACK cost, so
   that it can be seen how much of a proxy's time is its own.

   A forwarder says in `ready` what becomes of a connection that epoll named, and in `settle` what is to be done once
   all of them had their turn. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
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

enum { eventsMax = 256, bufferBytes = 262144, outboxBytes = 2 * bufferBytes, tlsReadBytes = 131072 };

/* Not every forwarder needs all of what follows. */
#pragma GCC diagnostic ignored "-Wunused-function"

/* Bytes that wait; the memory is there only while some do. */
struct queue {
    char *bytes;
    size_t start, end, room;
};

/* One side of an exchange, or a connection without one. */
struct connection {
    int descriptor;
    unsigned isDownstream : 1;
    unsigned isReadable : 1; /* the kernel may have something: nothing has said yet that it has not */
    unsigned isLeaving : 1;  /* the peer has closed its side: a short read does not mean that nothing follows */
    unsigned isOver : 1;     /* an end or an error was read or met */
    unsigned isClosed : 1;
    unsigned hasTicket : 1;
    unsigned hasHead : 1;    /* the head of its message has gone on */
    unsigned isCut : 1;      /* `kept` is the beginning of a head, and no more came since */
    unsigned isAsked : 1;    /* downstream: the request has gone on, the answer has not */
    unsigned isDirty : 1;    /* forward2: the session may have something to send */
    SSL *tls;
    struct connection *peer; /* the other side of the exchange */
    struct connection *next; /* in a list: idle, closed or unused */
    struct connection *nextDirty;
    uint64_t remaining;      /* of its message, still to be passed on */
    struct queue unsent;     /* what the socket did not take yet */
    struct queue kept;       /* what was read and cannot go on yet */
    void *use;               /* forward2: a downstream's session, an upstream's stream */
};

static int epollDescriptor, upstreamPort;
static SSL_CTX *context;
static struct connection *idle, *closed, *unused;

static void ready(struct connection *connection, uint32_t events);
static void settle(void);

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* --- Queues --- */

static size_t queued(const struct queue *queue) { return queue->end - queue->start; }

static void enqueue(struct queue *queue, const char *bytes, size_t count) {
    if (queue->room - queue->end < count) {
        size_t there = queued(queue);
        if (there > 0) memmove(queue->bytes, queue->bytes + queue->start, there);
        queue->start = 0;
        queue->end = there;
        if (queue->room - there < count) {
            queue->room = there + count;
            queue->bytes = realloc(queue->bytes, queue->room);
            if (queue->bytes == NULL) fail("realloc");
        }
    }
    memcpy(queue->bytes + queue->end, bytes, count);
    queue->end += count;
}

static void emptyQueue(struct queue *queue) {
    if (queue->bytes == NULL) return;
    free(queue->bytes);
    memset(queue, 0, sizeof *queue);
}

/* --- Sockets --- */

/* Sends what the socket takes and keeps the rest for `flush`. */
static void sendOrKeep(struct connection *connection, const char *bytes, size_t count) {
    size_t sent = 0;
    if (queued(&connection->unsent) == 0) {
        ssize_t result = send(connection->descriptor, bytes, count, MSG_NOSIGNAL);
        if (result < 0 && errno != EAGAIN) connection->isOver = 1;
        if (result > 0) sent = (size_t)result;
    }
    if (sent < count) enqueue(&connection->unsent, bytes + sent, count - sent);
}

/* 1 once nothing waits any more. */
static int flush(struct connection *connection) {
    struct queue *unsent = &connection->unsent;
    if (queued(unsent) == 0) return 1;
    ssize_t sent = send(connection->descriptor, unsent->bytes + unsent->start, queued(unsent), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) connection->isOver = 1;
    if (sent > 0) unsent->start += (size_t)sent;
    if (queued(unsent) > 0) return 0;
    emptyQueue(unsent);
    return 1;
}

static size_t receivePlain(struct connection *connection, char *to, size_t room) {
    ssize_t count = recv(connection->descriptor, to, room, 0);
    /* With edges a short read says that all is read, and saves the one that would find nothing. */
    if (count < (ssize_t)room && !connection->isLeaving) connection->isReadable = 0;
    if (count > 0) return (size_t)count;
    if (count < 0 && errno == EAGAIN) connection->isReadable = 0;
    else connection->isOver = 1;
    return 0;
}

/* --- TLS: one BIO for all connections, over the one whose turn it is --- */

static struct connection *current;
static BIO *bio;
static char outbox[outboxBytes]; /* records of this turn: they leave by one call */
static size_t outboxCount;

static void sendOutbox(void) {
    if (outboxCount == 0) return;
    sendOrKeep(current, outbox, outboxCount);
    outboxCount = 0;
}

static int bioWrite(BIO *self, const char *bytes, int count) {
    (void)self;
    if (outboxCount + (size_t)count > outboxBytes) sendOutbox();
    memcpy(outbox + outboxCount, bytes, (size_t)count);
    outboxCount += (size_t)count;
    return count;
}

static int bioRead(BIO *self, char *to, int room) {
    BIO_clear_retry_flags(self);
    size_t count = current->isReadable ? receivePlain(current, to, (size_t)room) : 0;
    if (count == 0 && !current->isOver) BIO_set_retry_read(self);
    return count > 0 ? (int)count : current->isOver ? 0 : -1;
}

static long bioControl(BIO *self, int command, long number, void *pointer) {
    (void)self, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static const char *applicationProtocol = ""; /* if the forwarder has one, it is chosen whatever is offered */

static int chooseProtocol(SSL *tls, const unsigned char **chosen, unsigned char *length, const unsigned char *offered,
    unsigned int count, void *argument) {
    (void)tls, (void)offered, (void)count, (void)argument;
    *chosen = (const unsigned char *)applicationProtocol;
    *length = (unsigned char)strlen(applicationProtocol);
    return SSL_TLSEXT_ERR_OK;
}

/* Ciphers and groups come from the file that OPENSSL_CONF names, as they do for the peers. */
static void makeContext(const char *certificate, const char *key) {
    context = SSL_CTX_new(TLS_server_method());
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "outbox");
    if (context == NULL || method == NULL || BIO_meth_set_write(method, bioWrite) != 1
        || BIO_meth_set_read(method, bioRead) != 1 || BIO_meth_set_ctrl(method, bioControl) != 1
        || (bio = BIO_new(method)) == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1
        || SSL_CTX_use_certificate_chain_file(context, certificate) != 1
        || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        fail("TLS");
    BIO_set_init(bio, 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, tlsReadBytes);
    /* The ticket goes with the first answer, in the same call. */
    SSL_CTX_set_num_tickets(context, 0);
    if (*applicationProtocol != 0) SSL_CTX_set_alpn_select_cb(context, chooseProtocol, NULL);
}

static size_t receiveTLS(struct connection *connection, char *to, size_t room) {
    size_t count = 0;
    current = connection;
    do {
        int result = SSL_read(connection->tls, to + count, (int)(room - count));
        if (result <= 0) {
            if (SSL_get_error(connection->tls, result) != SSL_ERROR_WANT_READ) {
                connection->isOver = 1;
                ERR_clear_error();
            }
            break;
        }
        count += (size_t)result;
    } while (count < room && (connection->isReadable || SSL_has_pending(connection->tls)));
    sendOutbox();
    return count;
}

/* --- Both kinds of connection --- */

/* Reads as much as is there and as there is room for. Nothing read means to wait for the next edge, or `isOver`. */
static size_t receive(struct connection *connection, char *to, size_t room) {
    return connection->tls != NULL ? receiveTLS(connection, to, room) : receivePlain(connection, to, room);
}

/* Whether `receive` may have something. A record may be read already, and not asked for. */
static int mayReceive(const struct connection *connection) {
    return connection->isReadable || (connection->tls != NULL && SSL_has_pending(connection->tls));
}

static void transmit(struct connection *connection, const char *bytes, size_t count) {
    if (connection->tls == NULL) {
        sendOrKeep(connection, bytes, count);
        return;
    }
    current = connection;
    if (!connection->hasTicket) connection->hasTicket = SSL_new_session_ticket(connection->tls) == 1;
    /* The BIO takes all, so this never stops within. */
    if (SSL_write(connection->tls, bytes, (int)count) <= 0) {
        connection->isOver = 1;
        ERR_clear_error();
    }
    sendOutbox();
}

static struct connection *watched(int descriptor, int isDownstream) {
    struct connection *connection = unused;
    if (connection != NULL) {
        unused = connection->next;
        memset(connection, 0, sizeof *connection);
    } else if ((connection = calloc(1, sizeof *connection)) == NULL) {
        fail("calloc");
    }
    connection->descriptor = descriptor;
    connection->isDownstream = isDownstream != 0;
    if (isDownstream && context != NULL) {
        connection->tls = SSL_new(context);
        if (connection->tls == NULL || !BIO_up_ref(bio) || !BIO_up_ref(bio)) fail("SSL_new");
        SSL_set0_rbio(connection->tls, bio);
        SSL_set0_wbio(connection->tls, bio);
        SSL_set_accept_state(connection->tls);
    }
    /* Every edge of both directions, once and for all. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
    return connection;
}

/* Memory is used again only after this turn: an event of the same turn may still name it. */
static void closeOne(struct connection *connection) {
    if (connection->isClosed) return;
    connection->isClosed = 1;
    close(connection->descriptor);
    SSL_free(connection->tls);
    emptyQueue(&connection->unsent);
    emptyQueue(&connection->kept);
    connection->next = closed;
    closed = connection;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return name;
}

/* The upstream's connection that was idle for the shortest time, or a new one. */
static struct connection *takeUpstream(void) {
    struct connection *upstream = idle;
    if (upstream != NULL) {
        idle = upstream->next;
        return upstream;
    }
    struct sockaddr_in name = loopback(upstreamPort);
    int on = 1, descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("socket");
    if (connect(descriptor, (struct sockaddr *)&name, sizeof name) != 0 && errno != EINPROGRESS) fail("connect");
    return watched(descriptor, 0);
}

static void giveUpstreamBack(struct connection *upstream) {
    upstream->peer = NULL;
    upstream->use = NULL;
    upstream->next = idle;
    idle = upstream;
}

/* The upstream closed a connection that nobody uses. */
static void dropIdle(struct connection *upstream) {
    for (struct connection **link = &idle; *link != NULL; link = &(*link)->next) {
        if (*link != upstream) continue;
        *link = upstream->next;
        break;
    }
    closeOne(upstream);
}

/* The length of a head, or 0 if its end is not there yet; and what the body behind it has. */
static size_t readHead(const char *bytes, size_t count, uint64_t *bodyBytes) {
    static const char name[] = "content-length:";
    const char *line = bytes, *end = bytes + count, *newline;
    *bodyBytes = 0;
    while ((newline = memchr(line, '\n', (size_t)(end - line))) != NULL) {
        if (newline - line <= 1) return (size_t)(newline + 1 - bytes);
        if ((*line | 0x20) == 'c' && strncasecmp(line, name, sizeof name - 1) == 0)
            *bodyBytes = strtoull(line + sizeof name - 1, NULL, 10);
        line = newline + 1;
    }
    return 0;
}

/* --- The loop --- */

static int listenAt(int port) {
    struct sockaddr_in name = loopback(port);
    int on = 1, seconds = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* What is set here holds for every connection that is accepted. */
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0
        || setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0
        || setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds) != 0
        || bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 4096) != 0)
        fail("listen");
    return listener;
}

/* One at a time: whoever else waits is named by the next wait for events, and no call finds nothing. */
static void acceptOne(int listener) {
    int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor >= 0) watched(descriptor, 1);
}

/* FORWARDER PORT UPSTREAM-PORT [CERTIFICATE KEY]: runs until a signal ends it. */
static int serve(int count, char **arguments) {
    if (count != 3 && count != 5) {
        fprintf(stderr, "usage: %s PORT UPSTREAM-PORT [CERTIFICATE KEY]\n", arguments[0]);
        return 64;
    }
    /* Memory that was given back is taken again a moment later: the kernel need not know. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 24);
    upstreamPort = atoi(arguments[2]);
    if (count == 5) makeContext(arguments[3], arguments[4]);
    int listener = listenAt(atoi(arguments[1]));
    epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epollDescriptor < 0 || epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll");

    struct epoll_event events[eventsMax];
    for (;;) {
        int number = epoll_wait(epollDescriptor, events, eventsMax, -1);
        if (number < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < number; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                acceptOne(listener);
                continue;
            }
            if (connection->isClosed) continue;
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection->isReadable = 1;
            if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection->isLeaving = 1;
            ready(connection, events[i].events);
        }
        settle();
        while (closed != NULL) {
            struct connection *connection = closed;
            closed = connection->next;
            connection->next = unused;
            unused = connection;
        }
    }
}
