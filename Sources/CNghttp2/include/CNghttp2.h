#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One HTTP/2 connection, server side, over nghttp2. Its callbacks record what happened and call nobody: whoever owns
 * the session takes the events when cnghttp2_receive or cnghttp2_produce has returned. It belongs to one thread. */
typedef struct cnghttp2_session cnghttp2_session;

/* What a session lets happen. */
typedef struct {
    uint32_t concurrent_streams_max;
    uint32_t stream_window;
    uint32_t connection_window;
    /* Bytes of the names and values of one field section, and their number, cookies counted one by one and
     * pseudo fields not at all. */
    uint32_t field_bytes_max;
    uint32_t fields_max;
    /* Bytes of one field section as they come, before they are decoded; beyond it the connection ends. */
    uint32_t block_bytes_max;
    /* Answers to SETTINGS and PING that wait to be sent; beyond it the connection ends. */
    uint32_t acknowledgements_max;
    /* Everything that nghttp2 and this layer allocate for the connection; beyond it the connection ends. */
    size_t memory_bytes_max;
    /* Output that a stream holds before its owner should stop, and where it should go on. */
    uint32_t output_bytes_high;
    uint32_t output_bytes_low;
    bool allows_extended_connect;
} cnghttp2_settings;

typedef enum {
    /* A field section is complete: offset and length are in the arena. */
    CNGHTTP2_EVENT_FIELDS,
    /* Body bytes: offset and length are in what cnghttp2_receive was given; code is the last of them. */
    CNGHTTP2_EVENT_DATA,
    /* A DATA frame is complete that ends the stream. */
    CNGHTTP2_EVENT_DATA_END,
    /* The peer sent RST_STREAM. */
    CNGHTTP2_EVENT_RESET,
    /* The stream is closed in both directions or was reset by either side; code says how. */
    CNGHTTP2_EVENT_CLOSED,
    /* The peer sent GOAWAY. */
    CNGHTTP2_EVENT_GOAWAY,
    /* A frame with END_STREAM was written. */
    CNGHTTP2_EVENT_SENT_END,
    /* GOAWAY was written; code says why. */
    CNGHTTP2_EVENT_SENT_GOAWAY,
    /* A stream over output_bytes_high has fallen to output_bytes_low. */
    CNGHTTP2_EVENT_DRAINED,
} cnghttp2_event_kind;

enum {
    CNGHTTP2_FLAG_END_STREAM = 1,
    /* The section is the first of its stream; else it is trailers. */
    CNGHTTP2_FLAG_REQUEST = 2,
    /* The section was larger than the limits and was not kept. */
    CNGHTTP2_FLAG_TOO_LARGE = 4,
};

typedef struct {
    cnghttp2_event_kind kind;
    int32_t stream;
    uint32_t flags;
    uint32_t code;
    uint32_t offset;
    uint32_t length;
} cnghttp2_event;

/* What is counted as it passes. */
typedef enum {
    CNGHTTP2_COUNT_SETTINGS,
    CNGHTTP2_COUNT_PING,
    CNGHTTP2_COUNT_PRIORITY,
    CNGHTTP2_COUNT_RESET,
    CNGHTTP2_COUNT_WINDOW_UPDATE,
    CNGHTTP2_COUNT_SMALL_WINDOW_UPDATE,
    CNGHTTP2_COUNT_CONTINUATION,
    CNGHTTP2_COUNT_UNKNOWN,
    CNGHTTP2_COUNT_EMPTY_DATA,
    CNGHTTP2_COUNT_INVALID,
    CNGHTTP2_COUNT_OUTPUT_BYTES,
    /* DATA frames that were short because no more waited, not because the window was small. */
    CNGHTTP2_COUNT_SMALL_OUTPUT,
    CNGHTTP2_COUNT_KINDS,
} cnghttp2_count_kind;

typedef enum {
    CNGHTTP2_DONE = 0,
    /* The preface is not HTTP/2's, or a frame breaks a rule that nghttp2 leaves out. */
    CNGHTTP2_NOT_HTTP2,
    /* The peer asks for more than the limits allow. */
    CNGHTTP2_FLOODED,
    CNGHTTP2_NO_MEMORY,
    CNGHTTP2_FAILED,
} cnghttp2_outcome;

/* Blocks of memory that sessions gave back, kept for the next ones: an exchange asks for a dozen. It belongs to one
 * thread, holds less than 256 KiB, and is freed after its sessions. NULL when there is no memory. */
typedef struct cnghttp2_spare cnghttp2_spare;
cnghttp2_spare *cnghttp2_spare_new(void);
void cnghttp2_spare_free(cnghttp2_spare *spare);

/* `spare` may be NULL. NULL when there is no memory. */
cnghttp2_session *cnghttp2_session_new(const cnghttp2_settings *settings, cnghttp2_spare *spare);
void cnghttp2_session_free(cnghttp2_session *session);

/* Takes bytes from the peer and says how many: fewer than given when the events should be taken first. DATA events
 * point into `bytes`, and hold until the next call. Any outcome but DONE is final. */
cnghttp2_outcome cnghttp2_receive(cnghttp2_session *session, const uint8_t *bytes, size_t count, size_t *taken);

/* Writes frames into `output` and says how many bytes; 0: there is nothing to write. `capacity` is at least 64. */
cnghttp2_outcome cnghttp2_produce(cnghttp2_session *session, uint8_t *output, size_t capacity, size_t *produced);

/* The next event, in order; false: there is none. */
bool cnghttp2_next_event(cnghttp2_session *session, cnghttp2_event *event);
/* The event behind the last one taken, left where it is. */
bool cnghttp2_peek_event(const cnghttp2_session *session, cnghttp2_event *event);
/* Field sections: for each field the lengths of name and value, 32 bits each in the machine's order, then both. Holds
 * until the next call of receive. */
const uint8_t *cnghttp2_arena(const cnghttp2_session *session);
/* How often something was counted since it was last asked for. */
uint32_t cnghttp2_take_count(cnghttp2_session *session, cnghttp2_count_kind kind);
/* Whether anything was counted. */
bool cnghttp2_has_counts(const cnghttp2_session *session);
/* The code of RFC 9113 section 7 for what cnghttp2_receive called NOT_HTTP2. */
uint32_t cnghttp2_error_code(const cnghttp2_session *session);
/* Whether a field section has begun and is not complete. */
bool cnghttp2_block_is_open(const cnghttp2_session *session);

/* Whether the stream is open in any direction and was not reset. */
bool cnghttp2_is_open(cnghttp2_session *session, int32_t stream);
/* Gives the peer as much window again: of the stream, if it is still there, and of the connection. */
void cnghttp2_consume(cnghttp2_session *session, int32_t stream, size_t count);

/* A head is added field by field, then submitted; names and values are copied. False: no memory, or no such stream. */
void cnghttp2_head_begin(cnghttp2_session *session);
bool cnghttp2_head_add(
    cnghttp2_session *session, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length,
    bool is_indexed);
bool cnghttp2_head_submit(cnghttp2_session *session, int32_t stream, bool is_interim, bool ends_stream);
/* Keeps what was added as the stream's trailers, to be sent behind its body; before the write that ends it. False: no
 * memory, or no such stream. */
bool cnghttp2_hold_trailers(cnghttp2_session *session, int32_t stream);
/* Copies bytes of the stream's body to what waits to be sent. False: no memory, or no such stream. */
bool cnghttp2_write(cnghttp2_session *session, int32_t stream, const uint8_t *bytes, size_t count, bool ends_stream);
/* Body bytes of the stream that were not written yet. */
size_t cnghttp2_pending(cnghttp2_session *session, int32_t stream);

void cnghttp2_reset(cnghttp2_session *session, int32_t stream, uint32_t code);
/* Announces that the connection will end; streams under way go on, and new ones may come until cnghttp2_go_away. */
void cnghttp2_announce_end(cnghttp2_session *session);
/* No stream beyond the last one seen is served any more; those that are go on. */
void cnghttp2_go_away(cnghttp2_session *session, uint32_t code);
/* Writes GOAWAY and nothing more. */
void cnghttp2_terminate(cnghttp2_session *session, uint32_t code);

bool cnghttp2_wants_read(cnghttp2_session *session);
bool cnghttp2_wants_write(cnghttp2_session *session);
/* Frames that wait to be written. */
size_t cnghttp2_queued_frames(cnghttp2_session *session);
/* Gives back what is only needed while bytes move; does nothing while events wait or a field section is unfinished. */
void cnghttp2_trim(cnghttp2_session *session);
/* Bytes allocated for the connection. */
size_t cnghttp2_memory(const cnghttp2_session *session);
