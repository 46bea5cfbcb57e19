/* The application behind every proxy that is measured: HTTP/1.1, keep-alive, one thread, epoll.

   upstream ADDRESS COUNTERS
     ADDRESS   `tcp` (127.0.0.1, the kernel chooses the port) or `unix:PATH`
     COUNTERS  a file that is mapped and gets three 64-bit numbers: requests answered, connections accepted, bytes of
               large bodies sent and received

   Prints the port (0 for a Unix socket) once it listens. What it answers:
     GET /echo    the identity fields it got, so that the harness can check who a proxy says is asking
     GET /large   10 MiB
     POST /sum    length and Adler-32 of the body, so that the harness can check that it came whole
     POST, GET    1 KiB; the body, which needs a Content-Length, is read and forgotten
   Anything else is refused by closing the connection. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { bodyBytes = 1024, largeBytes = 10 << 20, inputBytes = 32768, outputBytes = 262144, eventsMax = 256 };
enum { alphabetBytes = 26, adlerModulus = 65521 };

struct connection {
    int descriptor;
    uint32_t events; /* what epoll was asked for */
    size_t received;
    size_t pendingStart, pendingEnd; /* an answer that the socket did not take yet */
    char *pending;
    size_t largeRemaining;   /* of a large answer, still to be sent after `pending` */
    uint64_t bodyRemaining;  /* of a request's body, still to come */
    uint64_t bodyReceived;
    int isSummed;
    uint32_t sumLow, sumHigh;
    char input[inputBytes];
};

/* Written by this process alone, read by the harness: plain stores are enough. */
static volatile uint64_t *counters;
static char answer[bodyBytes + 256];
static size_t answerBytes;
static char output[outputBytes];
static char pattern[outputBytes + alphabetBytes]; /* a large answer, from any letter on */
static char forgotten[outputBytes];
static int epollDescriptor;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void prepareAnswer(void) {
    answerBytes = (size_t)snprintf(
        answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", bodyBytes);
    for (int i = 0; i < bodyBytes; i++) answer[answerBytes + (size_t)i] = (char)('a' + i % alphabetBytes);
    answerBytes += bodyBytes;
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (char)('a' + i % alphabetBytes);
}

static void mapCounters(const char *path) {
    int file = open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 24) != 0) fail(path);
    void *page = mmap(NULL, 24, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) fail("mmap");
    close(file);
    counters = page;
}

static int listenAt(const char *address, int *port) {
    *port = 0;
    int listener;
    if (strncmp(address, "unix:", 5) == 0) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        if (strlen(address + 5) >= sizeof name.sun_path) {
            fprintf(stderr, "upstream: path too long: %s\n", address);
            exit(1);
        }
        strcpy(name.sun_path, address + 5);
        unlink(name.sun_path);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&name, sizeof name) != 0) fail("bind");
    } else {
        struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof name;
        listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (listener < 0 || bind(listener, (struct sockaddr *)&name, sizeof name) != 0) fail("bind");
        if (getsockname(listener, (struct sockaddr *)&name, &length) != 0) fail("getsockname");
        *port = ntohs(name.sin_port);
    }
    if (listen(listener, 4096) != 0) fail("listen");
    return listener;
}

static void drop(struct connection *connection) {
    close(connection->descriptor);
    free(connection->pending);
    free(connection);
}

/* Copies the value of a field of the head into `value`; says how often the field is there. */
static int field(const char *head, const char *end, const char *name, char *value, size_t room) {
    int count = 0;
    size_t nameBytes = strlen(name);
    for (const char *line = memmem(head, (size_t)(end - head), "\r\n", 2); line != NULL && line + 4 <= end;) {
        line += 2;
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (next == NULL) break;
        if ((size_t)(next - line) > nameBytes && line[nameBytes] == ':' && strncasecmp(line, name, nameBytes) == 0) {
            const char *start = line + nameBytes + 1;
            while (start < next && *start == ' ') start++;
            size_t length = (size_t)(next - start) < room - 1 ? (size_t)(next - start) : room - 1;
            memcpy(value, start, length);
            value[length] = 0;
            count++;
        }
        line = next;
    }
    return count;
}

static size_t echo(const char *head, const char *end, char *to) {
    char user[512] = "", subject[512] = "", body[1400];
    int users = field(head, end, "X-Auth-User", user, sizeof user);
    int subjects = field(head, end, "X-Auth-Subject", subject, sizeof subject);
    int credentials = field(head, end, "Authorization", body, sizeof body);
    int length = snprintf(body, sizeof body, "user=%s\nusers=%d\nsubject=%s\nsubjects=%d\nauthorization=%d\n", user,
        users, subject, subjects, credentials);
    return (size_t)sprintf(
        to, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", length, body);
}

static int watch(struct connection *connection, uint32_t events) {
    if (connection->events == events) return 1;
    connection->events = events;
    struct epoll_event event = {.events = events, .data.ptr = connection};
    return epoll_ctl(epollDescriptor, EPOLL_CTL_MOD, connection->descriptor, &event) == 0;
}

/* Keeps what the socket did not take; `flush` goes on with it. */
static int keep(struct connection *connection, const char *bytes, size_t count) {
    connection->pending = malloc(count);
    if (connection->pending == NULL) return 0;
    memcpy(connection->pending, bytes, count);
    connection->pendingStart = 0;
    connection->pendingEnd = count;
    return watch(connection, EPOLLOUT);
}

static int beginBody(struct connection *connection, const char *head, const char *end) {
    char length[32], *rest;
    if (field(head, end, "Content-Length", length, sizeof length) != 1) return 0;
    connection->bodyRemaining = strtoull(length, &rest, 10);
    if (rest == length || *rest != 0) return 0;
    connection->bodyReceived = 0;
    connection->isSummed = strncmp(head, "POST /sum ", 10) == 0;
    connection->sumLow = 1;
    connection->sumHigh = 0;
    return 1;
}

static void takeBody(struct connection *connection, const char *bytes, size_t count) {
    connection->bodyRemaining -= count;
    connection->bodyReceived += count;
    counters[2] += count;
    for (size_t i = 0; connection->isSummed && i < count; i++) {
        connection->sumLow = (connection->sumLow + (unsigned char)bytes[i]) % adlerModulus;
        connection->sumHigh = (connection->sumHigh + connection->sumLow) % adlerModulus;
    }
}

static size_t answerBody(struct connection *connection, char *to) {
    if (!connection->isSummed) {
        memcpy(to, answer, answerBytes);
        return answerBytes;
    }
    char body[64];
    int length = snprintf(body, sizeof body, "%llu %u", (unsigned long long)connection->bodyReceived,
        connection->sumHigh << 16 | connection->sumLow);
    return (size_t)sprintf(
        to, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", length, body);
}

/* Sends what is left of a large answer until the socket is full. */
static int sendLarge(struct connection *connection) {
    while (connection->largeRemaining > 0) {
        size_t letter = (largeBytes - connection->largeRemaining) % alphabetBytes;
        size_t count = connection->largeRemaining < outputBytes ? connection->largeRemaining : outputBytes;
        ssize_t sent = send(connection->descriptor, pattern + letter, count, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN && watch(connection, EPOLLOUT);
        connection->largeRemaining -= (size_t)sent;
        counters[2] += (uint64_t)sent;
    }
    return 1;
}

/* Answers one request of which the head is complete. Returns how much of the input it was, or 0 to close. */
static size_t answerOne(struct connection *connection, char *head, char *end, size_t *produced) {
    size_t used = (size_t)(end - head);
    if (strncmp(head, "POST ", 5) == 0) {
        if (!beginBody(connection, head, end)) return 0;
        size_t here = (size_t)(connection->input + connection->received - end);
        if (here > connection->bodyRemaining) here = (size_t)connection->bodyRemaining;
        takeBody(connection, end, here);
        used += here;
        if (connection->bodyRemaining > 0) return used;
        *produced += answerBody(connection, output + *produced);
    } else if (strncmp(head, "GET ", 4) != 0) {
        return 0;
    } else if (strncmp(head, "GET /echo ", 10) == 0) {
        *produced += echo(head, end, output + *produced);
    } else if (strncmp(head, "GET /large ", 11) == 0) {
        *produced += (size_t)sprintf(output + *produced,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", largeBytes);
        connection->largeRemaining = largeBytes;
    } else {
        memcpy(output + *produced, answer, answerBytes);
        *produced += answerBytes;
    }
    counters[0]++;
    return used;
}

/* Answers every complete request in the input, in as few writes as the output buffer allows. Returns 0 to close. */
static int answerAll(struct connection *connection) {
    for (;;) {
        size_t used = 0, produced = 0;
        int isFull = 0;
        while (connection->bodyRemaining == 0 && connection->largeRemaining == 0
               && !(isFull = produced + sizeof answer + 2048 > outputBytes)) {
            char *head = connection->input + used;
            char *blank = memmem(head, connection->received - used, "\r\n\r\n", 4);
            if (blank == NULL) break;
            size_t count = answerOne(connection, head, blank + 4, &produced);
            if (count == 0) return 0;
            used += count;
        }
        if (used > 0) memmove(connection->input, connection->input + used, connection->received - used);
        connection->received -= used;
        if (produced == 0) return connection->received < inputBytes;

        ssize_t sent = send(connection->descriptor, output, produced, connection->largeRemaining > 0
            ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return 0;
        if (sent < 0) sent = 0;
        if ((size_t)sent < produced) return keep(connection, output + sent, produced - (size_t)sent);
        if (!sendLarge(connection)) return 0;
        if (connection->largeRemaining > 0) return 1;
        if (!isFull && connection->received == 0) return 1;
    }
}

static int flush(struct connection *connection) {
    if (connection->pending != NULL) {
        ssize_t sent = send(connection->descriptor, connection->pending + connection->pendingStart,
            connection->pendingEnd - connection->pendingStart, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        connection->pendingStart += (size_t)sent;
        if (connection->pendingStart < connection->pendingEnd) return 1;
        free(connection->pending);
        connection->pending = NULL;
    }
    if (!sendLarge(connection)) return 0;
    if (connection->largeRemaining > 0) return 1;
    return watch(connection, EPOLLIN) && answerAll(connection); /* heads that came in behind the long answer */
}

static int receiveBody(struct connection *connection) {
    size_t room = connection->bodyRemaining < sizeof forgotten ? (size_t)connection->bodyRemaining : sizeof forgotten;
    ssize_t count = recv(connection->descriptor, forgotten, room, 0);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return 0;
    takeBody(connection, forgotten, (size_t)count);
    if (connection->bodyRemaining > 0) return 1;
    counters[0]++;
    size_t produced = answerBody(connection, output);
    ssize_t sent = send(connection->descriptor, output, produced, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return 0;
    if (sent < 0) sent = 0;
    return (size_t)sent == produced || keep(connection, output + sent, produced - (size_t)sent);
}

static int receive(struct connection *connection) {
    if (connection->bodyRemaining > 0) return receiveBody(connection);
    ssize_t count = recv(
        connection->descriptor, connection->input + connection->received, inputBytes - connection->received, 0);
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return 0;
    connection->received += (size_t)count;
    return answerAll(connection);
}

static void acceptAll(int listener) {
    for (;;) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) return;
        int on = 1;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL) fail("calloc");
        connection->descriptor = descriptor;
        connection->events = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
        counters[1]++;
    }
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: upstream tcp|unix:PATH COUNTERS\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    prepareAnswer();
    mapCounters(arguments[2]);
    int port;
    int listener = listenAt(arguments[1], &port);
    epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epollDescriptor < 0 || epoll_ctl(epollDescriptor, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll");
    printf("%d\n", port);
    fflush(stdout);

    struct epoll_event events[eventsMax];
    for (;;) {
        int ready = epoll_wait(epollDescriptor, events, eventsMax, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                acceptAll(listener);
            } else if (!(connection->events == EPOLLOUT ? flush(connection) : receive(connection))) {
                drop(connection);
            }
        }
    }
}
