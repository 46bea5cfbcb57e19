/* paced PORT RATE CONNECTIONS WARM_MILLISECONDS: requests at fixed times over kept TLS 1.3 connections, until SIGINT.

   Request number i is due i/RATE seconds after the start, whatever became of those before it, and belongs to connection
   i mod CONNECTIONS. If that one still waits for an answer the request is sent late, and its latency counts from the
   time it was due: a proxy that stalls is charged for everybody who would have asked meanwhile, not for one request
   alone. What was due within the first WARM_MILLISECONDS does not count. At the end it prints percentiles in
   microseconds. */

#include "client.h"
#include <sys/prctl.h>
#include <time.h>

enum { latenciesStep = 1 << 16 };

struct asker {
    SSL *tls;
    int isConnected;
    int isWaiting;     /* for the answer to request number `turn` - 1 */
    uint64_t turn;     /* how many requests this connection has begun */
    size_t sent;
    struct answer answer;
};

static uint64_t rate, connections, start, warmUntil, done;
static struct asker *all;
static uint32_t *latencies;
static size_t latencyCount;
static char request[128];
static size_t requestBytes;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t due(uint64_t index) { return start + (uint64_t)((double)index * 1e9 / (double)rate); }

static uint64_t dueNext(const struct asker *asker) {
    return due(asker->turn * connections + (uint64_t)(asker - all));
}

static void record(uint64_t dueAt, uint64_t at) {
    done++;
    if (dueAt < warmUntil) return;
    if (latencyCount % latenciesStep == 0) {
        latencies = realloc(latencies, (latencyCount + latenciesStep) * sizeof *latencies);
        if (latencies == NULL) fail("realloc");
    }
    uint64_t latency = at - dueAt;
    latencies[latencyCount++] = latency < UINT32_MAX ? (uint32_t)latency : UINT32_MAX;
}

/* Sends what is due and reads what came, as far as it goes. */
static void drive(struct asker *asker) {
    for (;;) {
        if (!asker->isWaiting) {
            if (now() < dueNext(asker)) return;
            asker->isWaiting = 1;
            asker->sent = 0;
            asker->turn++;
        }
        while (asker->sent < requestBytes) {
            int result = SSL_write(asker->tls, request + asker->sent, (int)(requestBytes - asker->sent));
            size_t count = moved(asker->tls, result, "request");
            if (count == 0) return;
            asker->sent += count;
        }
        if (!receiveAnswer(asker->tls, &asker->answer)) return;
        record(due((asker->turn - 1) * connections + (uint64_t)(asker - all)), now());
        asker->isWaiting = 0;
    }
}

static void connectAll(int port, int epoll) {
    SSL_CTX *context = makeContext();
    for (uint64_t i = 0; i < connections; i++) {
        all[i].tls = connectTo(port, context);
        watchOnce(epoll, all[i].tls, &all[i]);
    }
    struct epoll_event events[eventsMax];
    for (uint64_t connected = 0; connected < connections && !isStopped;) {
        int ready = epoll_wait(epoll, events, eventsMax, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct asker *asker = events[i].data.ptr;
            if (asker->isConnected || moved(asker->tls, SSL_do_handshake(asker->tls), "handshake") == 0) continue;
            asker->isConnected = 1;
            connected++;
        }
    }
}

static int compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile(double share) {
    if (latencyCount == 0) return 0;
    return latencies[(size_t)(share * (double)(latencyCount - 1))] / 1e3;
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: paced PORT RATE CONNECTIONS WARM_MILLISECONDS\n");
        return 64;
    }
    int port = (int)number(arguments[1], 65535);
    rate = number(arguments[2], 10000000);
    connections = number(arguments[3], 4096);
    if (rate == 0 || connections == 0) refuse("nothing to do", "", 0);
    stopOnSignals();
    /* Timers at the instant that was asked for, not up to 50 microseconds later. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    requestBytes = (size_t)sprintf(request, "GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n", port);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    all = calloc(connections, sizeof *all);
    if (epoll < 0 || all == NULL) fail("start");
    connectAll(port, epoll);

    start = now();
    warmUntil = start + number(arguments[4], 60000) * 1000000;
    struct epoll_event events[eventsMax];
    uint64_t next = 0; /* the first request whose time has not come */
    while (!isStopped) {
        uint64_t time = now();
        for (; due(next) <= time; next++) {
            struct asker *asker = &all[next % connections];
            if (!asker->isWaiting) drive(asker);
        }
        time = now();
        uint64_t wait = due(next) > time ? due(next) - time : 0;
        struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
        int ready = epoll_pwait2(epoll, events, eventsMax, &timeout, NULL);
        if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < ready; i++) {
            struct asker *asker = events[i].data.ptr;
            if (asker->isWaiting) drive(asker);
        }
    }
    for (uint64_t i = 0; i < connections; i++) closeGracefully(all[i].tls);
    qsort(latencies, latencyCount, sizeof *latencies, compare);
    printf("BENCH {\"requests\": %llu, \"counted\": %zu, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}\n",
        (unsigned long long)done, latencyCount, percentile(0.5), percentile(0.99), percentile(0.999), percentile(1));
    return 0;
}
