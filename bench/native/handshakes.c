/* handshakes PORT full|resumed CONNECTIONS COUNT: a TLS 1.3 handshake for each request.

   Each of CONNECTIONS places connects to 127.0.0.1:PORT, shakes hands, asks for `/`, reads the answer and closes, over
   and over: COUNT times in all, or until SIGINT if COUNT is 0. With `resumed` each handshake offers the ticket that
   the last one brought; the first of each place is a full one. At the end it says how many were of which kind. */

#include "client.h"

struct place {
    SSL *tls;
    SSL_SESSION *session; /* the newest ticket */
    size_t sent;
    struct answer answer;
};

static int port, epollDescriptor;
static uint64_t startsLeft, full, resumed;
static SSL_CTX *context;
static char request[128];
static size_t requestBytes;

static void begin(struct place *place) {
    place->tls = NULL;
    if (startsLeft == 0 || isStopped) return;
    startsLeft--;
    place->tls = connectTo(port, context);
    place->sent = 0;
    SSL_set_app_data(place->tls, place);
    if (place->session != NULL && SSL_set_session(place->tls, place->session) != 1) fail("SSL_set_session");
    watchOnce(epollDescriptor, place->tls, place);
}

/* A ticket came; OpenSSL leaves it to us by the 1. */
static int keepSession(SSL *tls, SSL_SESSION *session) {
    struct place *place = SSL_get_app_data(tls);
    SSL_SESSION_free(place->session);
    place->session = session;
    return 1;
}

static void drive(struct place *place) {
    while (place->tls != NULL) {
        /* The first write shakes hands. */
        while (place->sent < requestBytes) {
            int result = SSL_write(place->tls, request + place->sent, (int)(requestBytes - place->sent));
            size_t count = moved(place->tls, result, "handshake");
            if (count == 0) return;
            place->sent += count;
        }
        if (!receiveAnswer(place->tls, &place->answer)) return;
        if (SSL_session_reused(place->tls)) resumed++;
        else full++;
        closeGracefully(place->tls);
        begin(place);
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: handshakes PORT full|resumed CONNECTIONS COUNT\n");
        return 64;
    }
    port = (int)number(arguments[1], 65535);
    int isResuming = strcmp(arguments[2], "resumed") == 0;
    size_t places = number(arguments[3], 4096);
    uint64_t wanted = number(arguments[4], UINT32_MAX);
    if (wanted == 0) wanted = UINT64_MAX;
    startsLeft = wanted;
    stopOnSignals();
    context = makeContext();
    if (isResuming) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keepSession);
    }
    requestBytes = (size_t)sprintf(request, "GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n", port);
    epollDescriptor = epoll_create1(EPOLL_CLOEXEC);
    struct place *all = calloc(places, sizeof *all);
    if (epollDescriptor < 0 || all == NULL) fail("start");
    for (size_t i = 0; i < places; i++) begin(&all[i]);

    struct epoll_event events[eventsMax];
    while (!isStopped && full + resumed < wanted) {
        int ready = epoll_wait(epollDescriptor, events, eventsMax, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) drive(events[i].data.ptr);
    }
    printf("BENCH {\"requests\": %llu, \"full\": %llu, \"resumed\": %llu}\n", (unsigned long long)(full + resumed),
        (unsigned long long)full, (unsigned long long)resumed);
    return 0;
}
