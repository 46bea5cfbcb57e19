/* bulk PORT down|up CONNECTIONS COUNT: large bodies over kept TLS 1.3 connections.

   `down` asks for `/large`, `up` posts 10 MiB to `/`: COUNT times in all, or until SIGINT if COUNT is 0. */

#include "client.h"

enum { largeBytes = 10 << 20 };

struct transfer {
    SSL *tls;
    size_t headSent, bodySent;
    int isRunning;
    struct answer answer;
};

static int isUpload;
static uint64_t startsLeft, done;
static char head[256], body[recordBytes];
static size_t headBytes;

static void begin(struct transfer *transfer) {
    transfer->headSent = transfer->bodySent = 0;
    transfer->isRunning = startsLeft > 0;
    if (transfer->isRunning) startsLeft--;
}

/* 1 once the whole request is sent. */
static int sendRequest(struct transfer *transfer) {
    while (transfer->headSent < headBytes) {
        int result = SSL_write(transfer->tls, head + transfer->headSent, (int)(headBytes - transfer->headSent));
        size_t count = moved(transfer->tls, result, "request");
        if (count == 0) return 0;
        transfer->headSent += count;
    }
    while (isUpload && transfer->bodySent < largeBytes) {
        /* 10 MiB are whole records, unless one was written in part. */
        size_t start = transfer->bodySent % recordBytes;
        size_t count = moved(transfer->tls, SSL_write(transfer->tls, body + start, (int)(recordBytes - start)), "body");
        if (count == 0) return 0;
        transfer->bodySent += count;
    }
    return 1;
}

static void drive(struct transfer *transfer) {
    while (transfer->isRunning) {
        if (!sendRequest(transfer) || !receiveAnswer(transfer->tls, &transfer->answer)) return;
        done++;
        begin(transfer);
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: bulk PORT down|up CONNECTIONS COUNT\n");
        return 64;
    }
    int port = (int)number(arguments[1], 65535);
    isUpload = strcmp(arguments[2], "up") == 0;
    size_t connections = number(arguments[3], 4096);
    uint64_t wanted = number(arguments[4], UINT32_MAX);
    if (wanted == 0) wanted = UINT64_MAX;
    startsLeft = wanted;
    stopOnSignals();
    for (size_t i = 0; i < sizeof body; i++) body[i] = (char)('a' + i % 26);
    headBytes = (size_t)(isUpload
        ? sprintf(head, "POST / HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: %d\r\n\r\n", port, largeBytes)
        : sprintf(head, "GET /large HTTP/1.1\r\nHost: localhost:%d\r\n\r\n", port));

    SSL_CTX *context = makeContext();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct transfer *all = calloc(connections, sizeof *all);
    if (epoll < 0 || all == NULL) fail("start");
    for (size_t i = 0; i < connections; i++) {
        begin(&all[i]);
        all[i].tls = connectTo(port, context);
        watchOnce(epoll, all[i].tls, &all[i]);
    }
    struct epoll_event events[eventsMax];
    while (!isStopped && done < wanted) {
        int ready = epoll_wait(epoll, events, eventsMax, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) drive(events[i].data.ptr);
    }
    for (size_t i = 0; i < connections && !isStopped; i++) closeGracefully(all[i].tls);
    printf("BENCH {\"requests\": %llu}\n", (unsigned long long)done);
    return 0;
}
