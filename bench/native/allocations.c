/* A shim for LD_PRELOAD that counts allocations: calls of malloc, calloc, realloc and the aligned kinds, not of free.

   ALLOCATION_COUNTER names a file that is mapped and gets one 64-bit number. Memory still comes from the C library,
   by the names it exports for such shims, so that nothing has to be looked up (a look-up would allocate). */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *block, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static _Atomic uint64_t early; /* counts until the file is mapped */
static _Atomic uint64_t *counter = &early;

__attribute__((constructor)) static void mapCounter(void) {
    const char *path = getenv("ALLOCATION_COUNTER");
    if (path == NULL) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) counter = page;
}

static void add(void) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

void *malloc(size_t bytes) {
    add();
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes) {
    add();
    return __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes) {
    add();
    return __libc_realloc(block, bytes);
}

void *reallocarray(void *block, size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, total);
}

void *memalign(size_t alignment, size_t bytes) {
    add();
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void **block, size_t alignment, size_t bytes) {
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *memory = memalign(alignment, bytes);
    if (memory == NULL) return ENOMEM;
    *block = memory;
    return 0;
}
