/* forward PORT UPSTREAM-PORT [CERTIFICATE KEY]: passes HTTP/1.1 on, byte for byte.

   Listens on a port of 127.0.0.1, with TLS 1.3 if there is a certificate, and passes what comes to another port. Of a
   message it looks for the end of its head and for `Content-Length`, since without these nobody knows whose turn it is.
   Chunked bodies, answers to HEAD and whatever else those two do not say are beyond it. */

#include "forward.h"

static char buffer[bufferBytes];

/* Both sides of an exchange; one of them failed. */
static void end(struct connection *connection) {
    struct connection *peer = connection->peer;
    if (!connection->isDownstream && peer == NULL) {
        dropIdle(connection);
        return;
    }
    closeOne(connection);
    if (peer != NULL) closeOne(peer);
}

static void relay(struct connection *from);

/* The message of this side has gone on. */
static void finish(struct connection *from) {
    from->hasHead = 0;
    if (from->isDownstream) {
        from->isAsked = 1;
        return;
    }
    struct connection *downstream = from->peer;
    giveUpstreamBack(from);
    downstream->peer = NULL;
    downstream->isAsked = 0;
    if (mayReceive(downstream) || queued(&downstream->kept) > 0) relay(downstream);
}

/* Passes on what came of a message, out of `buffer`. Returns 0 if that was the end of one of both connections. */
static int pass(struct connection *from, size_t count) {
    if (!from->hasHead) {
        uint64_t bodyBytes;
        size_t headBytes = readHead(buffer, count, &bodyBytes);
        if (headBytes == 0) {
            enqueue(&from->kept, buffer, count);
            from->isCut = 1;
            return count < bufferBytes;
        }
        from->hasHead = 1;
        from->remaining = headBytes + bodyBytes;
        if (from->isDownstream) {
            from->peer = takeUpstream();
            from->peer->peer = from;
        }
    }
    size_t part = count < from->remaining ? count : (size_t)from->remaining;
    from->remaining -= part;
    if (part < count) enqueue(&from->kept, buffer + part, count - part);
    transmit(from->peer, buffer, part);
    if (from->peer->isOver) return 0;
    if (from->remaining == 0) finish(from);
    return 1;
}

/* Reads from one side and writes to the other, as far as it goes. */
static void relay(struct connection *from) {
    while (!from->isClosed && (mayReceive(from) || (queued(&from->kept) > 0 && !from->isCut))) {
        if (from->isAsked && !from->isLeaving) return;
        if (from->peer != NULL && queued(&from->peer->unsent) > 0) return;
        size_t count = queued(&from->kept);
        if (count > 0) {
            if (count > bufferBytes) count = bufferBytes;
            memcpy(buffer, from->kept.bytes + from->kept.start, count);
            from->kept.start += count;
            if (queued(&from->kept) == 0) emptyQueue(&from->kept);
        }
        if (count < bufferBytes && mayReceive(from)) count += receive(from, buffer + count, bufferBytes - count);
        from->isCut = 0;
        /* An answer that nobody asked for, or a second request in front of the first one's answer and an end. */
        int isUnasked = count > 0 && (from->isDownstream ? from->isAsked : from->peer == NULL);
        if (isUnasked || (count == 0 && from->isOver) || (count > 0 && !pass(from, count))) {
            end(from);
            return;
        }
        if (count == 0) return;
    }
}

static void ready(struct connection *connection, uint32_t events) {
    if (events & EPOLLOUT && queued(&connection->unsent) > 0 && flush(connection) && connection->peer != NULL)
        relay(connection->peer);
    if (!connection->isClosed && connection->isReadable) relay(connection);
}

static void settle(void) {}

int main(int count, char **arguments) {
    return serve(count, arguments);
}
