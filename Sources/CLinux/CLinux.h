#pragma once
/* What Glibc's Swift module lacks; no logic. Feature macros are not set here: a header that Glibc's module also
   holds must not look different in this one. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* prctl, because pthread_setname_np hides behind a feature macro; 15 bytes of it show. */
static inline int clinux_name_thread(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

extern int accept4(int, struct sockaddr *, socklen_t *, int);

/* Bytes that were sent and that the other end's kernel has not acknowledged; 0 where that cannot be known. */
static inline int clinux_unacknowledged_bytes(int socket) {
    int count = 0;
    return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : 0;
}

/* What a socket's kernel will keep of bytes that are sent, with its own costs; 0 where that cannot be known. */
static inline int clinux_send_buffer_bytes(int socket) {
    int count = 0;
    socklen_t size = sizeof count;
    return getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &count, &size) == 0 ? count : 0;
}

/* A file without a name, which can get none; O_TMPFILE, because its own name hides behind a feature macro. */
static inline int clinux_open_unnamed(int folder) {
    return openat(folder, ".", __O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
}

/* Gives whole free pages back to the system; 1 if there were any. */
static inline int clinux_malloc_trim(void) { return malloc_trim(0); }
/* Bytes that were freed and will be used again before the system is asked for more. */
static inline size_t clinux_malloc_free_bytes(void) { return mallinfo2().fordblks; }

static inline int clinux_epoll_cloexec(void) { return EPOLL_CLOEXEC; }
static inline int clinux_eventfd_flags(void) { return EFD_NONBLOCK | EFD_CLOEXEC; }
static inline int clinux_signalfd_flags(void) { return SFD_NONBLOCK | SFD_CLOEXEC; }
static inline int clinux_inotify_flags(void) { return IN_NONBLOCK | IN_CLOEXEC; }
static inline unsigned clinux_epoll_interest(void) { return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET; }
/* For a listening socket that several loops share: an event wakes one of them. */
static inline unsigned clinux_epoll_shared_interest(void) { return EPOLLIN | EPOLLET | EPOLLEXCLUSIVE; }
/* No core dump, and no other process of the same user may attach. */
static inline int clinux_forbid_dumps(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }
static inline int clinux_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

/* The rights to files of the calling thread alone: glibc's setgroups would change every thread of the process. */
static inline long clinux_thread_groups(const gid_t *groups, size_t count) { return syscall(SYS_setgroups, count, groups); }
static inline void clinux_thread_file_group(gid_t group) { setfsgid(group); }
/* 0 when it is done; the second call changes nothing and tells who the thread is now. */
static inline int clinux_thread_file_user(uid_t user) { setfsuid(user); return setfsuid((uid_t)-1) == (int)user ? 0 : -1; }
