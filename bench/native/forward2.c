/* forward2 PORT UPSTREAM-PORT CERTIFICATE KEY: HTTP/2 on one side, HTTP/1.1 on the other.

   nghttp2 reads and writes the frames, with three callbacks and without its own checks of messages. Each stream has a
   connection to the upstream while its answer is awaited; what the sessions have to send leaves once all events of a
   turn are dealt with, so that many frames go in one record. A request's head is written out from its fields as they
   came. Requests have no body here, and answers are gathered before they go on, up to `answerBytes`. */

#include "forward.h"
#include <nghttp2/nghttp2.h>

enum { requestBytes = 4096, answerBytes = 65536, fieldsMax = 32, wordBytes = 1024 };

/* A part of a pseudo-field that has to wait for the others. */
struct word {
    size_t count;
    char bytes[wordBytes];
};

struct stream {
    int32_t id;
    struct connection *downstream; /* NULL once the stream is closed: its answer is read and forgotten */
    struct connection *upstream;   /* while the answer is awaited */
    struct stream *next, *previous; /* of the same session, or unused */
    struct word method, path, authority;
    size_t requestCount, answerCount, bodySent, headBytes;
    uint64_t bodyBytes;
    char request[requestBytes], answer[answerBytes];
};

struct session {
    nghttp2_session *frames;
    struct stream *building; /* whose header block is being read: there is one at a time */
    struct stream *streams;
};

static char buffer[bufferBytes], output[bufferBytes];
static struct stream *unusedStreams;
static struct connection *dirty;
static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static void makeDirty(struct connection *downstream) {
    if (downstream->isDirty) return;
    downstream->isDirty = 1;
    downstream->nextDirty = dirty;
    dirty = downstream;
}

static void freeStream(struct stream *stream) {
    stream->next = unusedStreams;
    unusedStreams = stream;
}

static struct stream *makeStream(struct connection *downstream, int32_t id) {
    struct stream *stream = unusedStreams;
    if (stream != NULL) unusedStreams = stream->next;
    else if ((stream = malloc(sizeof *stream)) == NULL) fail("malloc");
    stream->id = id;
    stream->downstream = downstream;
    stream->upstream = NULL;
    stream->method.count = stream->path.count = stream->authority.count = 0;
    stream->requestCount = stream->answerCount = stream->bodySent = stream->headBytes = 0;
    struct session *session = downstream->use;
    stream->previous = NULL;
    stream->next = session->streams;
    if (stream->next != NULL) stream->next->previous = stream;
    session->streams = stream;
    return stream;
}

/* The session has done with it; the upstream may not have. */
static void leave(struct stream *stream) {
    struct session *session = stream->downstream->use;
    if (stream->previous != NULL) stream->previous->next = stream->next;
    else session->streams = stream->next;
    if (stream->next != NULL) stream->next->previous = stream->previous;
    stream->downstream = NULL;
    if (stream->upstream == NULL) freeStream(stream);
}

/* --- Requests --- */

static int append(struct stream *stream, const void *bytes, size_t count) {
    if (count > requestBytes - stream->requestCount) return 0;
    memcpy(stream->request + stream->requestCount, bytes, count);
    stream->requestCount += count;
    return 1;
}

static int setWord(struct word *word, const uint8_t *bytes, size_t count) {
    if (count > wordBytes) return 0;
    memcpy(word->bytes, bytes, count);
    word->count = count;
    return 1;
}

/* The first lines, once all pseudo-fields are there: they come before the others. */
static int appendStart(struct stream *stream) {
    return append(stream, stream->method.bytes, stream->method.count) && append(stream, " ", 1)
        && append(stream, stream->path.bytes, stream->path.count) && append(stream, " HTTP/1.1\r\nHost: ", 17)
        && append(stream, stream->authority.bytes, stream->authority.count) && append(stream, "\r\n", 2);
}

static int fieldCame(nghttp2_session *frames, const nghttp2_frame *frame, const uint8_t *name, size_t nameBytes,
    const uint8_t *value, size_t valueBytes, uint8_t flags, void *user) {
    (void)frames, (void)flags;
    struct connection *downstream = user;
    struct session *session = downstream->use;
    struct stream *stream = session->building;
    if (stream == NULL) stream = session->building = makeStream(downstream, frame->hd.stream_id);
    int isTaken = 1;
    if (name[0] == ':') {
        if (name[1] == 'm') isTaken = setWord(&stream->method, value, valueBytes);
        else if (name[1] == 'p') isTaken = setWord(&stream->path, value, valueBytes);
        else if (name[1] == 'a') isTaken = setWord(&stream->authority, value, valueBytes);
    } else {
        isTaken = (stream->requestCount > 0 || appendStart(stream)) && append(stream, name, nameBytes)
            && append(stream, ": ", 2) && append(stream, value, valueBytes) && append(stream, "\r\n", 2);
    }
    return isTaken ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int frameCame(nghttp2_session *frames, const nghttp2_frame *frame, void *user) {
    struct connection *downstream = user;
    struct session *session = downstream->use;
    struct stream *stream = session->building;
    if (frame->hd.type != NGHTTP2_HEADERS || stream == NULL) return 0;
    session->building = NULL;
    if ((stream->requestCount == 0 && !appendStart(stream)) || !append(stream, "\r\n", 2)
        || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(frames, stream->id, stream);
    stream->upstream = takeUpstream();
    stream->upstream->use = stream;
    transmit(stream->upstream, stream->request, stream->requestCount);
    return 0;
}

static int streamClosed(nghttp2_session *frames, int32_t id, uint32_t error, void *user) {
    (void)error, (void)user;
    struct stream *stream = nghttp2_session_get_stream_user_data(frames, id);
    if (stream != NULL) leave(stream);
    return 0;
}

/* --- Answers --- */

static ssize_t readBody(nghttp2_session *frames, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
    nghttp2_data_source *source, void *user) {
    (void)frames, (void)id, (void)user;
    struct stream *stream = source->ptr;
    size_t count = stream->bodyBytes - stream->bodySent;
    if (count > room) count = room;
    memcpy(to, stream->answer + stream->headBytes + stream->bodySent, count);
    stream->bodySent += count;
    if (stream->bodySent == stream->bodyBytes) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)count;
}

static nghttp2_nv pair(char *name, size_t nameBytes, char *value, size_t valueBytes) {
    nghttp2_nv field = {(uint8_t *)name, (uint8_t *)value, nameBytes, valueBytes,
        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
    return field;
}

/* Gives a whole answer to the session, which looks at its head until that is sent: the bytes stay where they are. */
static int submit(struct stream *stream) {
    nghttp2_nv fields[fieldsMax];
    size_t number = 0;
    char *head = stream->answer, *end = head + stream->headBytes;
    char *line = (char *)memchr(head, '\n', stream->headBytes) + 1;
    if (line - head < 13) return 0;
    fields[number++] = pair(":status", 7, head + 9, 3);
    while (end - line > 2 && number < fieldsMax) {
        char *next = (char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        char *colon = memchr(line, ':', (size_t)(next - line));
        if (colon == NULL) return 0;
        for (char *byte = line; byte < colon; byte++) *byte |= *byte >= 'A' && *byte <= 'Z' ? 0x20 : 0;
        char *value = colon + 1, *valueEnd = next - 1;
        while (*value == ' ') value++;
        if (valueEnd > value && valueEnd[-1] == '\r') valueEnd--;
        fields[number++] = pair(line, (size_t)(colon - line), value, (size_t)(valueEnd - value));
        line = next;
    }
    nghttp2_data_provider body = {.source.ptr = stream, .read_callback = readBody};
    struct session *session = stream->downstream->use;
    return nghttp2_submit_response(session->frames, stream->id, fields, number, &body) == 0;
}

static void endDownstream(struct connection *downstream) {
    struct session *session = downstream->use;
    if (session != NULL) {
        while (session->streams != NULL) leave(session->streams);
        nghttp2_session_del(session->frames);
        free(session);
        downstream->use = NULL;
    }
    closeOne(downstream);
}

static void readAnswer(struct connection *upstream) {
    struct stream *stream = upstream->use;
    if (stream == NULL) {
        dropIdle(upstream);
        return;
    }
    while (upstream->isReadable) {
        size_t count = receive(upstream, stream->answer + stream->answerCount, answerBytes - stream->answerCount);
        stream->answerCount += count;
        if (stream->headBytes == 0)
            stream->headBytes = readHead(stream->answer, stream->answerCount, &stream->bodyBytes);
        if (stream->headBytes > 0 && stream->answerCount == stream->headBytes + stream->bodyBytes) {
            stream->upstream = NULL;
            giveUpstreamBack(upstream);
            if (stream->downstream == NULL) freeStream(stream);
            else if (submit(stream)) makeDirty(stream->downstream);
            else endDownstream(stream->downstream);
            return;
        }
        if (upstream->isOver || stream->answerCount == answerBytes) {
            struct connection *downstream = stream->downstream;
            stream->upstream = NULL;
            closeOne(upstream);
            if (downstream == NULL) freeStream(stream);
            else endDownstream(downstream);
            return;
        }
    }
}

/* --- Sessions --- */

static void begin(struct connection *downstream) {
    struct session *session = downstream->use = calloc(1, sizeof *session);
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 128};
    if (session == NULL || nghttp2_session_server_new2(&session->frames, callbacks, downstream, options) != 0
        || nghttp2_submit_settings(session->frames, NGHTTP2_FLAG_NONE, &settings, 1) != 0)
        fail("nghttp2");
}

static void readFrames(struct connection *downstream) {
    while (mayReceive(downstream)) {
        size_t count = receive(downstream, buffer, sizeof buffer);
        if (count > 0 && downstream->use == NULL) begin(downstream);
        struct session *session = downstream->use;
        if ((count == 0 && downstream->isOver)
            || (count > 0 && nghttp2_session_mem_recv(session->frames, (uint8_t *)buffer, count) != (ssize_t)count)) {
            endDownstream(downstream);
            return;
        }
        if (count == 0) return;
        makeDirty(downstream);
    }
}

/* Sends what the session has, as much as fits at a time. */
static void writeFrames(struct connection *downstream) {
    struct session *session = downstream->use;
    size_t used = 0;
    ssize_t count;
    const uint8_t *bytes;
    while (queued(&downstream->unsent) == 0 && (count = nghttp2_session_mem_send(session->frames, &bytes)) > 0) {
        if (used + (size_t)count > sizeof output) {
            transmit(downstream, output, used);
            used = 0;
        }
        memcpy(output + used, bytes, (size_t)count);
        used += (size_t)count;
    }
    if (used > 0) transmit(downstream, output, used);
    if (downstream->isOver) endDownstream(downstream);
}

static void ready(struct connection *connection, uint32_t events) {
    if (events & EPOLLOUT && queued(&connection->unsent) > 0 && flush(connection) && connection->isDownstream)
        makeDirty(connection);
    if (!connection->isReadable) return;
    if (connection->isDownstream) readFrames(connection);
    else readAnswer(connection);
}

static void settle(void) {
    while (dirty != NULL) {
        struct connection *downstream = dirty;
        dirty = downstream->nextDirty;
        downstream->isDirty = 0;
        if (downstream->use != NULL) writeFrames(downstream);
    }
}

int main(int count, char **arguments) {
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0) fail("nghttp2");
    nghttp2_session_callbacks_set_on_header_callback(callbacks, fieldCame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frameCame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, streamClosed);
    nghttp2_option_set_no_http_messaging(options, 1);
    applicationProtocol = "h2";
    return serve(count, arguments);
}
