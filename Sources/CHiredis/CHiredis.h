#pragma once
#include <hiredis/hiredis.h>
#include <hiredis/read.h>

/* The kind of item that a reader is in the middle of; Swift sees the stack as a tuple, which has no subscript. */
static inline int chiredis_current_type(const redisReader *reader) {
    return reader->ridx < 0 ? -1 : reader->rstack[reader->ridx].type;
}
