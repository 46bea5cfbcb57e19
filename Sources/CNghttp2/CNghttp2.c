#include "CNghttp2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

/* Slices in which input is decoded, and the decoded fields after which the owner's turn comes: a compressed field
 * section may be a thousand times smaller than what it says. */
enum { slice_bytes = 2048, arena_bytes_turn = 64 * 1024, field_head_bytes = 8, data_head_bytes = 9 };
/* A WINDOW_UPDATE below this many bytes costs more than it is worth. */
enum { small_window_update = 256 };
/* HEADERS and CONTINUATION frames of one section; and, as nghttp2 counts, pieces of the heads of CONTINUATION frames,
 * of which there are nine when bytes come one by one. */
enum { known_streams = 1024, frame_bytes_max = 16384 };
enum { block_frames_max = 9, continuation_pieces_max = 128 };
enum { preface_bytes = 24, frame_head_bytes = 9, setting_bytes = 6, priority_bytes = 5, stream_bytes = 4 };

/* What a stream has to send; in a list, so that the streams that are open when a session ends are found. */
typedef struct output {
    struct output *previous, *next;
    uint8_t *bytes;
    size_t start, end, capacity;
    bool ends, is_deferred, is_over_high;
    /* Trailers in one block: their number, pairs that point behind the pairs, and the bytes; or NULL. */
    struct trailers *trailers;
} output;

typedef struct trailers {
    size_t count;
    nghttp2_nv pairs[];
} trailers;

typedef struct {
    size_t name_offset, name_length, value_offset, value_length;
    bool is_indexed;
} head_field;

struct cnghttp2_session {
    nghttp2_session *session;
    cnghttp2_settings settings;
    nghttp2_mem memory;
    size_t memory_held;
    cnghttp2_spare *spare;

    cnghttp2_event *events;
    size_t events_taken, events_count, events_capacity;
    uint32_t counts[CNGHTTP2_COUNT_KINDS];
    bool has_counts;

    /* Complete sections, then the one that is being received from block_start on. */
    uint8_t *arena;
    size_t arena_count, arena_capacity, block_start;
    uint32_t block_fields, block_bytes, wire_bytes, wire_frames;
    bool block_is_open, block_is_too_large;

    const uint8_t *input;
    bool is_flooded;
    /* The code of RFC 9113 section 7 for a rule that nghttp2 leaves out and the peer broke; 0: none. */
    uint32_t broken_code;
    /* The head of the frame that is being read, as far as it has come, what is still to come of its payload, and the
     * bytes of the payload that are looked at. */
    uint8_t frame_head[frame_head_bytes], payload[setting_bytes];
    size_t frame_head_count, payload_count, payload_left;

    /* Of the latest streams, by half their number: which were begun, and which ended by our reset, so that what is still
     * on its way for them is nobody's mistake. */
    uint64_t begun[known_streams / 64], reset[known_streams / 64];
    uint32_t last_index;
    output *outputs;

    /* Where produce writes; and a frame of nghttp2's that did not fit, valid until its next mem_send. */
    uint8_t *target;
    size_t target_count, target_capacity;
    const uint8_t *rest;
    size_t rest_count;

    head_field *head_fields;
    size_t head_count, head_capacity;
    nghttp2_nv *head_pairs;
    size_t head_pairs_capacity;
    uint8_t *head_bytes;
    size_t head_bytes_count, head_bytes_capacity;
};

/* Memory: each block knows its size, so that a session knows what it holds. Where there is a store of spare blocks,
 * those of up to 4 KiB are of its sizes and go back to it; without one they are of the size that was asked for, so that
 * whoever looks for overruns sees them. */

enum { spare_sizes = 7, spare_bytes_min = 64, no_spare_size = spare_sizes };

typedef union {
    struct {
        size_t size;
        unsigned spare_size;
    };
    max_align_t alignment;
} block_head;

struct cnghttp2_spare {
    /* By size; each block begins with a pointer to the next. */
    void *blocks[spare_sizes];
    unsigned counts[spare_sizes];
};

static const unsigned spare_counts_max[spare_sizes] = {64, 64, 64, 64, 16, 16, 16};

cnghttp2_spare *cnghttp2_spare_new(void) { return calloc(1, sizeof(cnghttp2_spare)); }

void cnghttp2_spare_free(cnghttp2_spare *spare) {
    if (!spare) return;
    for (unsigned index = 0; index < spare_sizes; index++) {
        while (spare->blocks[index]) {
            void *block = spare->blocks[index];
            spare->blocks[index] = *(void **)block;
            free((block_head *)block - 1);
        }
    }
    free(spare);
}

/* The smallest spare size that holds `size` bytes. */
static unsigned spare_size_for(const cnghttp2_spare *spare, size_t size) {
    if (!spare || size > (size_t)spare_bytes_min << (spare_sizes - 1)) return no_spare_size;
    if (size <= spare_bytes_min) return 0;
    return (unsigned)(64 - __builtin_clzll((unsigned long long)(size - 1) / spare_bytes_min));
}

static size_t spare_bytes(unsigned spare_size) { return (size_t)spare_bytes_min << spare_size; }

static block_head *take_block(cnghttp2_spare *spare, size_t size) {
    unsigned spare_size = spare_size_for(spare, size);
    if (spare_size != no_spare_size && spare->blocks[spare_size]) {
        void *block = spare->blocks[spare_size];
        spare->blocks[spare_size] = *(void **)block;
        spare->counts[spare_size] -= 1;
        return (block_head *)block - 1;
    }
    block_head *made = malloc(sizeof(block_head) + (spare_size == no_spare_size ? size : spare_bytes(spare_size)));
    if (made) made->spare_size = spare_size;
    return made;
}

static void give_block(cnghttp2_spare *spare, block_head *block) {
    unsigned spare_size = block->spare_size;
    if (spare_size == no_spare_size || spare->counts[spare_size] == spare_counts_max[spare_size]) {
        free(block);
        return;
    }
    *(void **)(block + 1) = spare->blocks[spare_size];
    spare->blocks[spare_size] = block + 1;
    spare->counts[spare_size] += 1;
}

/* The block with room for `size` bytes; `old` stays as it is when there is none. */
static block_head *resize_block(cnghttp2_spare *spare, block_head *old, size_t size) {
    unsigned spare_size = spare_size_for(spare, size);
    if (!old) return take_block(spare, size);
    if (old->spare_size == no_spare_size && spare_size == no_spare_size) {
        return realloc(old, sizeof(block_head) + size);
    }
    if (old->spare_size != no_spare_size && size <= spare_bytes(old->spare_size)) return old;
    block_head *made = take_block(spare, size);
    if (!made) return NULL;
    memcpy(made + 1, old + 1, old->size < size ? old->size : size);
    give_block(spare, old);
    return made;
}

static void *held_realloc(void *pointer, size_t size, void *user_data) {
    cnghttp2_session *self = user_data;
    block_head *old = pointer ? (block_head *)pointer - 1 : NULL;
    size_t old_size = old ? old->size : 0;
    if (size > self->settings.memory_bytes_max ||
        self->memory_held - old_size > self->settings.memory_bytes_max - size) {
        return NULL;
    }
    block_head *new = resize_block(self->spare, old, size);
    if (!new) return NULL;
    new->size = size;
    self->memory_held += size - old_size;
    return new + 1;
}

static void *held_malloc(size_t size, void *user_data) { return held_realloc(NULL, size, user_data); }

static void *held_calloc(size_t count, size_t size, void *user_data) {
    if (size != 0 && count > SIZE_MAX / size) return NULL;
    void *pointer = held_realloc(NULL, count * size, user_data);
    return pointer ? memset(pointer, 0, count * size) : NULL;
}

static void held_free(void *pointer, void *user_data) {
    if (!pointer) return;
    cnghttp2_session *self = user_data;
    block_head *block = (block_head *)pointer - 1;
    self->memory_held -= block->size;
    give_block(self->spare, block);
}

/* Makes room for `wanted` elements; false when there is no memory. */
static bool reserve(cnghttp2_session *self, void **elements, size_t *capacity, size_t wanted, size_t size) {
    if (wanted <= *capacity) return true;
    size_t grown = *capacity ? *capacity : 16;
    while (grown < wanted) grown *= 2;
    void *moved = held_realloc(*elements, grown * size, self);
    if (!moved) return false;
    *elements = moved;
    *capacity = grown;
    return true;
}

/* What the callbacks record. */

static void count(cnghttp2_session *self, cnghttp2_count_kind kind, uint32_t by) {
    self->counts[kind] += by;
    self->has_counts = true;
}

static int append(cnghttp2_session *self, cnghttp2_event event) {
    if (!reserve(
            self, (void **)&self->events, &self->events_capacity, self->events_count + 1, sizeof(cnghttp2_event))) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    self->events[self->events_count++] = event;
    return 0;
}

/* Before the frame is decoded. */
static int count_block(cnghttp2_session *self, const nghttp2_frame_hd *head) {
    self->wire_bytes += (uint32_t)head->length;
    self->wire_frames += 1;
    if (self->wire_bytes <= self->settings.block_bytes_max && self->wire_frames <= block_frames_max) return 0;
    self->is_flooded = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int break_off(cnghttp2_session *self, uint32_t code) {
    self->broken_code = code;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool has_stream(const uint64_t *set, uint32_t index) {
    uint32_t bit = index % known_streams;
    return set[bit / 64] >> (bit % 64) & 1;
}

static void put_stream(uint64_t *set, uint32_t index, bool is_member) {
    uint32_t bit = index % known_streams;
    uint64_t mask = UINT64_C(1) << (bit % 64);
    set[bit / 64] = is_member ? set[bit / 64] | mask : set[bit / 64] & ~mask;
}

/* Forgets the oldest streams, so that this one is among the latest. */
static void advance_to(cnghttp2_session *self, uint32_t index) {
    if (index <= self->last_index) return;
    uint32_t from = index - self->last_index > known_streams ? index - known_streams : self->last_index;
    for (uint32_t each = from + 1; each != index + 1; each++) {
        put_stream(self->begun, each, false);
        put_stream(self->reset, each, false);
    }
    self->last_index = index;
}

/* Whether a frame may come for a stream that was named before (RFC 9113 sections 5.1 and 5.1.1): not when the peer has
 * left it out or ended it, unless it ended by our reset. nghttp2 ignores HEADERS and DATA of streams that are gone. */
static int check_former_stream(cnghttp2_session *self, uint32_t index, int32_t stream) {
    if (self->last_index - index >= known_streams) return 0;
    if (!has_stream(self->begun, index)) return break_off(self, NGHTTP2_PROTOCOL_ERROR);
    if (has_stream(self->reset, index) || nghttp2_session_get_stream_remote_close(self->session, stream) != -1) {
        return 0;
    }
    return break_off(self, NGHTTP2_STREAM_CLOSED);
}

static int check_stream(cnghttp2_session *self, const nghttp2_frame_hd *head) {
    if (head->stream_id <= 0 || head->stream_id % 2 == 0) return 0;
    uint32_t index = (uint32_t)head->stream_id / 2 + 1;
    if (index <= self->last_index) return check_former_stream(self, index, head->stream_id);
    /* Counts as reset until nghttp2 takes it. */
    advance_to(self, index);
    put_stream(self->begun, index, true);
    put_stream(self->reset, index, true);
    return 0;
}

static uint32_t number(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Of the frame whose head is complete. */
static size_t length(const cnghttp2_session *self) { return number(self->frame_head) >> 8; }

static uint32_t stream_of(const cnghttp2_session *self) { return number(self->frame_head + 5) & 0x7fffffff; }

/* The last of one name counts for nghttp2; but each value must be sound (RFC 9113 sections 6.5.2 and 6.5.3). */
static int check_setting(cnghttp2_session *self) {
    uint32_t value = number(self->payload + 2);
    switch (self->payload[0] << 8 | self->payload[1]) {
    case NGHTTP2_SETTINGS_ENABLE_PUSH: return value > 1 ? break_off(self, NGHTTP2_PROTOCOL_ERROR) : 0;
    case NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE:
        return value > NGHTTP2_MAX_WINDOW_SIZE ? break_off(self, NGHTTP2_FLOW_CONTROL_ERROR) : 0;
    case NGHTTP2_SETTINGS_MAX_FRAME_SIZE:
        return value < frame_bytes_max || value >> 24 != 0 ? break_off(self, NGHTTP2_PROTOCOL_ERROR) : 0;
    default: return 0;
    }
}

/* How many payload bytes of the frame whose head is complete make a piece that is looked at; 0: nothing is. */
static size_t piece_bytes(const cnghttp2_session *self) {
    if (self->payload_left > frame_bytes_max) return 0;
    switch (self->frame_head[3]) {
    /* nghttp2 refuses other lengths. */
    case NGHTTP2_SETTINGS: return self->payload_left % setting_bytes == 0 ? setting_bytes : 0;
    case NGHTTP2_PRIORITY: return self->payload_left == priority_bytes ? priority_bytes : 0;
    case NGHTTP2_PRIORITY_UPDATE: return self->payload_left == length(self) ? stream_bytes : 0;
    default: return 0;
    }
}

static int check_piece(cnghttp2_session *self) {
    if (self->frame_head[3] == NGHTTP2_SETTINGS) return check_setting(self);
    /* A stream that depends on itself: an error in RFC 7540 section 5.3.1, and of no use to anybody since; or a
     * PRIORITY_UPDATE, which is on stream 0 itself, of stream 0 (RFC 9218 section 7.1). */
    uint32_t stream = number(self->payload) & 0x7fffffff;
    return stream == stream_of(self) ? break_off(self, NGHTTP2_PROTOCOL_ERROR) : 0;
}

static int check_head(cnghttp2_session *self) {
    if (self->frame_head[3] == NGHTTP2_PRIORITY_UPDATE) {
        if (stream_of(self) != 0) return break_off(self, NGHTTP2_PROTOCOL_ERROR);
        if (length(self) < stream_bytes) return break_off(self, NGHTTP2_FRAME_SIZE_ERROR);
    }
    if (self->frame_head[3] == NGHTTP2_DATA) {
        uint32_t stream = stream_of(self), index = stream / 2 + 1;
        if (stream % 2 == 1 && index <= self->last_index) return check_former_stream(self, index, (int32_t)stream);
    }
    return 0;
}

/* Looks at frames for what nghttp2 lets pass without a word to anybody, and says how many of the bytes it may have:
 * all, or those before the one by which a rule is broken, or before DATA that can only be judged when what ends
 * streams in front of it has been taken. */
static size_t look(cnghttp2_session *self, const uint8_t *bytes, size_t count) {
    bool may_end_streams = false;
    size_t at = 0;
    while (at < count) {
        if (self->frame_head_count == frame_head_bytes) {
            size_t piece = piece_bytes(self), part = count - at;
            if (piece == 0) {
                if (part > self->payload_left) part = self->payload_left;
                at += part;
                self->payload_left -= part;
            } else {
                self->payload[self->payload_count++] = bytes[at++];
                if (self->payload_count == piece) {
                    if (check_piece(self) != 0) return at - 1;
                    self->payload_left -= piece;
                    self->payload_count = 0;
                }
            }
        } else {
            size_t part = frame_head_bytes - self->frame_head_count;
            if (part > count - at) part = count - at;
            memcpy(self->frame_head + self->frame_head_count, bytes + at, part);
            self->frame_head_count += part;
            at += part;
            if (self->frame_head_count < frame_head_bytes) break;
            self->payload_left = length(self);
            bool is_data = self->frame_head[3] == NGHTTP2_DATA;
            if (is_data && may_end_streams) {
                self->frame_head_count -= 1;
                return at - 1;
            }
            if (check_head(self) != 0) return at - 1;
            if (self->frame_head[3] == NGHTTP2_RST_STREAM ||
                ((is_data || self->frame_head[3] == NGHTTP2_HEADERS) && self->frame_head[4] & NGHTTP2_FLAG_END_STREAM)) {
                may_end_streams = true;
            }
        }
        if (self->frame_head_count == frame_head_bytes && self->payload_left == 0) self->frame_head_count = 0;
    }
    return count;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)session;
    switch (head->type) {
    case NGHTTP2_DATA: break;
    case NGHTTP2_HEADERS:
        if (check_stream(self, head) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
        self->wire_bytes = 0;
        self->wire_frames = 0;
        return count_block(self, head);
    case NGHTTP2_CONTINUATION:
        /* nghttp2 looks at the length of all other frames (RFC 9113 section 4.2). */
        if (head->length > frame_bytes_max) return break_off(self, NGHTTP2_FRAME_SIZE_ERROR);
        count(self, CNGHTTP2_COUNT_CONTINUATION, 1);
        return count_block(self, head);
    case NGHTTP2_SETTINGS:
        if (!(head->flags & NGHTTP2_FLAG_ACK)) count(self, CNGHTTP2_COUNT_SETTINGS, 1);
        break;
    case NGHTTP2_PING: count(self, CNGHTTP2_COUNT_PING, 1); break;
    case NGHTTP2_RST_STREAM: count(self, CNGHTTP2_COUNT_RESET, 1); break;
    case NGHTTP2_WINDOW_UPDATE: count(self, CNGHTTP2_COUNT_WINDOW_UPDATE, 1); break;
    case NGHTTP2_PRIORITY:
        /* nghttp2 ignores these frames, and with them this rule (RFC 9113 section 6.3). */
        if (head->stream_id == 0) {
            return break_off(self, NGHTTP2_PROTOCOL_ERROR);
        }
        count(self, CNGHTTP2_COUNT_PRIORITY, 1);
        break;
    case NGHTTP2_PRIORITY_UPDATE: count(self, CNGHTTP2_COUNT_PRIORITY, 1); break;
    case NGHTTP2_GOAWAY: break;
    default: count(self, CNGHTTP2_COUNT_UNKNOWN, 1); break;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) {
    cnghttp2_session *self = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        output *out = held_calloc(1, sizeof(output), self);
        if (!out) return NGHTTP2_ERR_CALLBACK_FAILURE;
        out->next = self->outputs;
        if (out->next) out->next->previous = out;
        self->outputs = out;
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, out);
        put_stream(self->reset, (uint32_t)frame->hd.stream_id / 2 + 1, false);
    }
    /* A section that was left unfinished, because its stream was reset, is overwritten. */
    if (self->block_is_open) self->arena_count = self->block_start;
    self->block_start = self->arena_count;
    self->block_fields = 0;
    self->block_bytes = 0;
    self->block_is_open = true;
    self->block_is_too_large = false;
    return 0;
}

static int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
    const uint8_t *value, size_t value_length, uint8_t flags, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)session, (void)frame, (void)flags;
    if (!self->block_is_open || self->block_is_too_large) return 0;
    /* Pseudo fields come once each, or the request is malformed. */
    if (name_length == 0 || name[0] != ':') self->block_fields += 1;
    size_t room = self->settings.field_bytes_max - self->block_bytes;
    if (self->block_fields > self->settings.fields_max || name_length > room || value_length > room - name_length) {
        self->block_is_too_large = true;
        self->arena_count = self->block_start;
        return 0;
    }
    self->block_bytes += (uint32_t)(name_length + value_length);
    size_t wanted = self->arena_count + field_head_bytes + name_length + value_length;
    if (!reserve(self, (void **)&self->arena, &self->arena_capacity, wanted, 1)) return NGHTTP2_ERR_CALLBACK_FAILURE;
    uint32_t lengths[2] = {(uint32_t)name_length, (uint32_t)value_length};
    uint8_t *to = self->arena + self->arena_count;
    memcpy(to, lengths, field_head_bytes);
    memcpy(to + field_head_bytes, name, name_length);
    memcpy(to + field_head_bytes + name_length, value, value_length);
    self->arena_count = wanted;
    return 0;
}

static int on_frame_received(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)session;
    cnghttp2_event event = {.stream = frame->hd.stream_id};
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) event.flags |= CNGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (!self->block_is_open) return 0;
        self->block_is_open = false;
        event.kind = CNGHTTP2_EVENT_FIELDS;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) event.flags |= CNGHTTP2_FLAG_REQUEST;
        if (self->block_is_too_large) event.flags |= CNGHTTP2_FLAG_TOO_LARGE;
        event.offset = (uint32_t)self->block_start;
        event.length = (uint32_t)(self->arena_count - self->block_start);
        return append(self, event);
    case NGHTTP2_DATA:
        if (event.flags & CNGHTTP2_FLAG_END_STREAM) {
            event.kind = CNGHTTP2_EVENT_DATA_END;
            return append(self, event);
        }
        if (frame->hd.length == frame->data.padlen) count(self, CNGHTTP2_COUNT_EMPTY_DATA, 1);
        return 0;
    case NGHTTP2_RST_STREAM:
        event.kind = CNGHTTP2_EVENT_RESET;
        event.flags = 0;
        event.code = frame->rst_stream.error_code;
        return append(self, event);
    case NGHTTP2_GOAWAY:
        event.kind = CNGHTTP2_EVENT_GOAWAY;
        event.flags = 0;
        event.code = frame->goaway.error_code;
        return append(self, event);
    case NGHTTP2_WINDOW_UPDATE:
        if (frame->window_update.window_size_increment < small_window_update) {
            count(self, CNGHTTP2_COUNT_SMALL_WINDOW_UPDATE, 1);
        }
        return 0;
    default: return 0;
    }
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data) {
    (void)session, (void)frame, (void)error;
    count(user_data, CNGHTTP2_COUNT_INVALID, 1);
    return 0;
}

static int on_data_chunk(
    nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)session, (void)flags;
    if (length == 0) return 0;
    uint32_t offset = (uint32_t)(data - self->input);
    if (self->events_count > self->events_taken) {
        cnghttp2_event *last = &self->events[self->events_count - 1];
        if (last->kind == CNGHTTP2_EVENT_DATA && last->stream == stream && last->offset + last->length == offset) {
            last->length += (uint32_t)length;
            last->code = data[length - 1];
            return 0;
        }
    }
    cnghttp2_event event = {
        .kind = CNGHTTP2_EVENT_DATA, .stream = stream, .code = data[length - 1], .offset = offset,
        .length = (uint32_t)length};
    return append(self, event);
}

static void free_output(cnghttp2_session *self, output *out) {
    if (out->previous) {
        out->previous->next = out->next;
    } else {
        self->outputs = out->next;
    }
    if (out->next) out->next->previous = out->previous;
    held_free(out->bytes, self);
    held_free(out->trailers, self);
    held_free(out, self);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user_data) {
    cnghttp2_session *self = user_data;
    output *out = nghttp2_session_get_stream_user_data(session, stream);
    if (out) {
        nghttp2_session_set_stream_user_data(session, stream, NULL);
        free_output(self, out);
    }
    cnghttp2_event event = {.kind = CNGHTTP2_EVENT_CLOSED, .stream = stream, .code = code};
    return append(self, event);
}

static int ignore_extension(
    nghttp2_session *session, void **payload, const nghttp2_frame_hd *head, void *user_data) {
    (void)session, (void)payload, (void)head, (void)user_data;
    return NGHTTP2_ERR_CANCEL;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data) {
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->hd.stream_id % 2 == 1) {
        cnghttp2_session *self = user_data;
        uint32_t index = (uint32_t)frame->hd.stream_id / 2 + 1;
        if (index <= self->last_index && self->last_index - index < known_streams) {
            put_stream(self->reset, index, true);
        }
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        cnghttp2_event end = {.kind = CNGHTTP2_EVENT_SENT_GOAWAY, .code = frame->goaway.error_code};
        return append(user_data, end);
    }
    bool may_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (!may_end || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
    cnghttp2_event event = {.kind = CNGHTTP2_EVENT_SENT_END, .stream = frame->hd.stream_id};
    return append(user_data, event);
}

/* A body's way out. */

static ssize_t read_length(
    nghttp2_session *session, uint8_t type, int32_t stream, int32_t session_window, int32_t stream_window,
    uint32_t frame_size_max, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)session, (void)type, (void)stream, (void)session_window, (void)stream_window;
    /* cnghttp2_produce asks for a frame only where more than its head fits. */
    size_t room = self->target_capacity - self->target_count - data_head_bytes;
    size_t length = room < 16384 ? room : 16384;
    return (ssize_t)(length < frame_size_max ? length : frame_size_max);
}

static ssize_t read_body(
    nghttp2_session *session, int32_t stream, uint8_t *buffer, size_t length, uint32_t *flags,
    nghttp2_data_source *source, void *user_data) {
    (void)buffer, (void)source, (void)user_data;
    output *out = nghttp2_session_get_stream_user_data(session, stream);
    if (!out) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t held = out->end - out->start;
    if (held == 0 && !out->ends) {
        out->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (held <= length && out->ends) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (out->trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            /* Copied. */
            if (nghttp2_submit_trailer(session, stream, out->trailers->pairs, out->trailers->count) != 0) {
                return NGHTTP2_ERR_CALLBACK_FAILURE;
            }
        }
    }
    return (ssize_t)(held < length ? held : length);
}

static int send_data(
    nghttp2_session *session, nghttp2_frame *frame, const uint8_t *frame_head, size_t length,
    nghttp2_data_source *source, void *user_data) {
    cnghttp2_session *self = user_data;
    (void)source;
    output *out = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!out || out->end - out->start < length ||
        self->target_capacity - self->target_count < data_head_bytes + length) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    uint8_t *to = self->target + self->target_count;
    memcpy(to, frame_head, data_head_bytes);
    if (length > 0) memcpy(to + data_head_bytes, out->bytes + out->start, length);
    self->target_count += data_head_bytes + length;
    count(self, CNGHTTP2_COUNT_OUTPUT_BYTES, (uint32_t)length);
    out->start += length;
    if (out->start == out->end) {
        if (length > 0 && length < small_window_update) count(self, CNGHTTP2_COUNT_SMALL_OUTPUT, 1);
        held_free(out->bytes, self);
        out->bytes = NULL;
        out->start = out->end = out->capacity = 0;
    }
    if (out->is_over_high && out->end - out->start <= self->settings.output_bytes_low) {
        out->is_over_high = false;
        cnghttp2_event event = {.kind = CNGHTTP2_EVENT_DRAINED, .stream = frame->hd.stream_id};
        if (append(self, event) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    /* The room that is left is looked at before the next frame. */
    return NGHTTP2_ERR_PAUSE;
}

/* The session. */

static nghttp2_session_callbacks *shared_callbacks(void) {
    nghttp2_session_callbacks *made;
    if (nghttp2_session_callbacks_new(&made) != 0) return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, on_frame_received);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, on_stream_close);
    nghttp2_session_callbacks_set_unpack_extension_callback(made, ignore_extension);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, on_frame_sent);
    nghttp2_session_callbacks_set_data_source_read_length_callback(made, read_length);
    nghttp2_session_callbacks_set_send_data_callback(made, send_data);
    return made;
}

static bool open_session(cnghttp2_session *self) {
    nghttp2_session_callbacks *callbacks = shared_callbacks();
    nghttp2_option *option = NULL;
    bool is_open = false;
    if (!callbacks || nghttp2_option_new(&option) != 0) goto end;
    /* Requests are checked by their receiver, once and for both versions of HTTP. */
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_outbound_ack(option, self->settings.acknowledgements_max);
    nghttp2_option_set_max_settings(option, 16);
    /* Resets are counted by the owner, with everything else. */
    nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
    nghttp2_option_set_max_continuations(option, continuation_pieces_max);
    /* Frames of types that nghttp2 does not know are announced, to be counted, and then ignored. */
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++) {
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
    }
    nghttp2_option_set_max_send_header_block_length(option, 128 * 1024);
    if (nghttp2_session_server_new3(&self->session, callbacks, self, option, &self->memory) != 0) goto end;
    nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, self->settings.concurrent_streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, self->settings.stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, self->settings.field_bytes_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    size_t entry_count = sizeof entries / sizeof *entries - (self->settings.allows_extended_connect ? 0 : 1);
    is_open = nghttp2_submit_settings(self->session, NGHTTP2_FLAG_NONE, entries, entry_count) == 0 &&
              nghttp2_session_set_local_window_size(
                  self->session, NGHTTP2_FLAG_NONE, 0, (int32_t)self->settings.connection_window) == 0;
end:
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return is_open;
}

cnghttp2_session *cnghttp2_session_new(const cnghttp2_settings *settings, cnghttp2_spare *spare) {
    cnghttp2_session *self = calloc(1, sizeof *self);
    if (!self) return NULL;
    self->settings = *settings;
    self->spare = spare;
    self->memory = (nghttp2_mem){self, held_malloc, held_free, held_calloc, held_realloc};
    /* nghttp2 checks the preface: it is passed over like a payload. */
    self->frame_head_count = frame_head_bytes;
    self->frame_head[3] = NGHTTP2_DATA;
    self->payload_left = preface_bytes;
    if (open_session(self)) return self;
    cnghttp2_session_free(self);
    return NULL;
}

static void free_scratch(cnghttp2_session *self) {
    held_free(self->events, self);
    held_free(self->arena, self);
    held_free(self->head_fields, self);
    held_free(self->head_pairs, self);
    held_free(self->head_bytes, self);
}

void cnghttp2_session_free(cnghttp2_session *self) {
    if (!self) return;
    nghttp2_session_del(self->session);
    /* Streams that were open are not announced as closed any more. */
    while (self->outputs) free_output(self, self->outputs);
    free_scratch(self);
    free(self);
}

/* All events were taken: their room is used again, and an unfinished section moves to the front of the arena. */
static void forget_taken(cnghttp2_session *self) {
    if (self->events_taken < self->events_count) return;
    self->events_taken = self->events_count = 0;
    if (!self->block_is_open) {
        self->arena_count = 0;
    } else if (self->block_start > 0) {
        memmove(self->arena, self->arena + self->block_start, self->arena_count - self->block_start);
        self->arena_count -= self->block_start;
    }
    self->block_start = 0;
}

static cnghttp2_outcome outcome(const cnghttp2_session *self, ssize_t error) {
    switch (error) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC: return CNGHTTP2_NOT_HTTP2;
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_SETTINGS:
    /* TOO_MANY_CONTINUATIONS, which older headers lack. */
    case -905: return CNGHTTP2_FLOODED;
    case NGHTTP2_ERR_NOMEM: return CNGHTTP2_NO_MEMORY;
    case NGHTTP2_ERR_CALLBACK_FAILURE:
        if (self->broken_code != 0) return CNGHTTP2_NOT_HTTP2;
        return self->is_flooded ? CNGHTTP2_FLOODED : CNGHTTP2_NO_MEMORY;
    default: return CNGHTTP2_FAILED;
    }
}

cnghttp2_outcome cnghttp2_receive(cnghttp2_session *self, const uint8_t *bytes, size_t count, size_t *taken) {
    forget_taken(self);
    self->input = bytes;
    *taken = 0;
    /* Only complete sections can be taken from the arena: one that goes on does not end the turn. */
    while (*taken < count && (self->events_count == 0 || self->arena_count < arena_bytes_turn)) {
        size_t slice = count - *taken < slice_bytes ? count - *taken : slice_bytes;
        size_t sound = look(self, bytes + *taken, slice);
        uint32_t broken_code = self->broken_code;
        ssize_t read = nghttp2_session_mem_recv(self->session, bytes + *taken, sound);
        if (read < 0) return outcome(self, read);
        *taken += (size_t)read;
        if (broken_code != 0) return CNGHTTP2_NOT_HTTP2;
    }
    return CNGHTTP2_DONE;
}

cnghttp2_outcome cnghttp2_produce(cnghttp2_session *self, uint8_t *target, size_t capacity, size_t *produced) {
    self->target = target;
    self->target_capacity = capacity;
    self->target_count = 0;
    cnghttp2_outcome result = CNGHTTP2_DONE;
    for (;;) {
        size_t room = capacity - self->target_count;
        if (self->rest_count > 0) {
            size_t part = self->rest_count < room ? self->rest_count : room;
            memcpy(target + self->target_count, self->rest, part);
            self->target_count += part;
            self->rest += part;
            self->rest_count -= part;
            if (self->rest_count > 0) break;
            continue;
        }
        /* Room for a DATA frame that is worth its head. */
        if (room < 64) break;
        size_t before = self->target_count;
        ssize_t count = nghttp2_session_mem_send(self->session, &self->rest);
        if (count < 0) result = outcome(self, count);
        if (count < 0 || (count == 0 && self->target_count == before)) break;
        self->rest_count = (size_t)count;
    }
    *produced = self->target_count;
    self->target = NULL;
    return result;
}

bool cnghttp2_peek_event(const cnghttp2_session *self, cnghttp2_event *event) {
    if (self->events_taken == self->events_count) return false;
    *event = self->events[self->events_taken];
    return true;
}

bool cnghttp2_next_event(cnghttp2_session *self, cnghttp2_event *event) {
    if (!cnghttp2_peek_event(self, event)) return false;
    self->events_taken += 1;
    return true;
}

const uint8_t *cnghttp2_arena(const cnghttp2_session *self) { return self->arena; }

uint32_t cnghttp2_take_count(cnghttp2_session *self, cnghttp2_count_kind kind) {
    uint32_t taken = self->counts[kind];
    self->counts[kind] = 0;
    self->has_counts = false;
    return taken;
}

bool cnghttp2_has_counts(const cnghttp2_session *self) { return self->has_counts; }

uint32_t cnghttp2_error_code(const cnghttp2_session *self) {
    return self->broken_code != 0 ? self->broken_code : NGHTTP2_PROTOCOL_ERROR;
}

bool cnghttp2_block_is_open(const cnghttp2_session *self) { return self->block_is_open; }

/* What the owner does. */

static output *output_of(cnghttp2_session *self, int32_t stream) {
    return nghttp2_session_get_stream_user_data(self->session, stream);
}

bool cnghttp2_is_open(cnghttp2_session *self, int32_t stream) { return output_of(self, stream) != NULL; }

void cnghttp2_consume(cnghttp2_session *self, int32_t stream, size_t count) {
    nghttp2_session_consume(self->session, stream, count);
}

void cnghttp2_head_begin(cnghttp2_session *self) {
    self->head_count = 0;
    self->head_bytes_count = 0;
}

bool cnghttp2_head_add(
    cnghttp2_session *self, const uint8_t *name, size_t name_length, const uint8_t *value, size_t value_length,
    bool is_indexed) {
    size_t wanted = self->head_bytes_count + name_length + value_length;
    if (!reserve(self, (void **)&self->head_bytes, &self->head_bytes_capacity, wanted, 1) ||
        !reserve(
            self, (void **)&self->head_fields, &self->head_capacity, self->head_count + 1, sizeof(head_field))) {
        return false;
    }
    uint8_t *to = self->head_bytes + self->head_bytes_count;
    if (name_length > 0) memcpy(to, name, name_length);
    if (value_length > 0) memcpy(to + name_length, value, value_length);
    self->head_fields[self->head_count++] = (head_field){
        .name_offset = self->head_bytes_count, .name_length = name_length,
        .value_offset = self->head_bytes_count + name_length, .value_length = value_length, .is_indexed = is_indexed};
    self->head_bytes_count = wanted;
    return true;
}

bool cnghttp2_head_submit(cnghttp2_session *self, int32_t stream, bool is_interim, bool ends_stream) {
    if (!output_of(self, stream) ||
        !reserve(
            self, (void **)&self->head_pairs, &self->head_pairs_capacity, self->head_count, sizeof(nghttp2_nv))) {
        return false;
    }
    for (size_t index = 0; index < self->head_count; index++) {
        const head_field *field = &self->head_fields[index];
        self->head_pairs[index] = (nghttp2_nv){
            .name = self->head_bytes + field->name_offset, .namelen = field->name_length,
            .value = self->head_bytes + field->value_offset, .valuelen = field->value_length,
            .flags = field->is_indexed ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX};
    }
    if (is_interim) {
        return nghttp2_submit_headers(
                   self->session, NGHTTP2_FLAG_NONE, stream, NULL, self->head_pairs, self->head_count, NULL) == 0;
    }
    nghttp2_data_provider provider = {.read_callback = read_body};
    return nghttp2_submit_response(
               self->session, stream, self->head_pairs, self->head_count, ends_stream ? NULL : &provider) == 0;
}

bool cnghttp2_hold_trailers(cnghttp2_session *self, int32_t stream) {
    output *out = output_of(self, stream);
    if (!out || out->ends || out->trailers) return false;
    size_t heads = sizeof(trailers) + self->head_count * sizeof(nghttp2_nv);
    trailers *kept = held_malloc(heads + self->head_bytes_count, self);
    if (!kept) return false;
    uint8_t *bytes = (uint8_t *)kept + heads;
    memcpy(bytes, self->head_bytes, self->head_bytes_count);
    kept->count = self->head_count;
    for (size_t index = 0; index < self->head_count; index++) {
        const head_field *field = &self->head_fields[index];
        kept->pairs[index] = (nghttp2_nv){
            .name = bytes + field->name_offset, .namelen = field->name_length,
            .value = bytes + field->value_offset, .valuelen = field->value_length,
            .flags = field->is_indexed ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX};
    }
    out->trailers = kept;
    return true;
}

bool cnghttp2_write(cnghttp2_session *self, int32_t stream, const uint8_t *bytes, size_t count, bool ends_stream) {
    output *out = output_of(self, stream);
    if (!out || out->ends) return false;
    if (count > 0) {
        size_t held = out->end - out->start;
        if (out->end + count > out->capacity && out->start >= held) {
            memcpy(out->bytes, out->bytes + out->start, held);
            out->start = 0;
            out->end = held;
        }
        if (!reserve(self, (void **)&out->bytes, &out->capacity, out->end + count, 1)) return false;
        memcpy(out->bytes + out->end, bytes, count);
        out->end += count;
    }
    out->ends = ends_stream;
    if (out->end - out->start >= self->settings.output_bytes_high) out->is_over_high = true;
    if (out->is_deferred && (count > 0 || ends_stream)) {
        out->is_deferred = false;
        nghttp2_session_resume_data(self->session, stream);
    }
    return true;
}

size_t cnghttp2_pending(cnghttp2_session *self, int32_t stream) {
    const output *out = output_of(self, stream);
    return out ? out->end - out->start : 0;
}

void cnghttp2_reset(cnghttp2_session *self, int32_t stream, uint32_t code) {
    nghttp2_submit_rst_stream(self->session, NGHTTP2_FLAG_NONE, stream, code);
}

void cnghttp2_announce_end(cnghttp2_session *self) { nghttp2_submit_shutdown_notice(self->session); }

void cnghttp2_go_away(cnghttp2_session *self, uint32_t code) {
    nghttp2_submit_goaway(
        self->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self->session), code, NULL, 0);
}

void cnghttp2_terminate(cnghttp2_session *self, uint32_t code) {
    nghttp2_session_terminate_session(self->session, code);
}

bool cnghttp2_wants_read(cnghttp2_session *self) { return nghttp2_session_want_read(self->session) != 0; }

bool cnghttp2_wants_write(cnghttp2_session *self) {
    return self->rest_count > 0 || nghttp2_session_want_write(self->session) != 0;
}

size_t cnghttp2_queued_frames(cnghttp2_session *self) {
    return nghttp2_session_get_outbound_queue_size(self->session);
}

void cnghttp2_trim(cnghttp2_session *self) {
    if (self->events_taken < self->events_count || self->block_is_open) return;
    free_scratch(self);
    self->events_taken = self->events_count = self->events_capacity = 0;
    self->arena_count = self->arena_capacity = self->block_start = 0;
    self->head_count = self->head_capacity = self->head_pairs_capacity = 0;
    self->head_bytes_count = self->head_bytes_capacity = 0;
    self->events = NULL;
    self->arena = NULL;
    self->head_fields = NULL;
    self->head_pairs = NULL;
    self->head_bytes = NULL;
}

size_t cnghttp2_memory(const cnghttp2_session *self) { return self->memory_held; }
