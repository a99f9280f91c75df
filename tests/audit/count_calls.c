/*
 * An LD_PRELOAD library that counts the calls a process makes to the allocator and to the calls
 * by which a look at a target can be told: read, write, poll, send.
 *
 * The counts lie in the file that COUNT_CALLS_FILE names, as an array of 64-bit numbers in the
 * order of `enum slot`; another process maps the same file and reads them while this one runs.
 * counting.py holds the same list of names, and a test compares both.
 *
 * What it cannot count: calls that the C library makes to its own mmap, munmap, mremap, madvise
 * and brk. They do not go through the symbol table, so they are counted by strace instead.
 *
 * Only the process that was started with LD_PRELOAD counts. The constructor takes both variables
 * out of the environment, so what it executes later doesn't count into the same page.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum slot {
    MALLOC, CALLOC, REALLOC, FREE, POSIX_MEMALIGN, ALIGNED_ALLOC, MEMALIGN,
    READ, WRITE, POLL, SEND, SENDMSG,
    SLOTS
};

const char *const count_calls_names =
    "malloc calloc realloc free posix_memalign aligned_alloc memalign "
    "read write poll send sendmsg";

/* Until the constructor has mapped the file, counts go here and are carried over. */
static _Atomic uint64_t early_counts[SLOTS];
static _Atomic uint64_t *counts = early_counts;

static void count(enum slot slot)
{
    atomic_fetch_add_explicit(&counts[slot], 1, memory_order_relaxed);
}

/* dlsym() may allocate before the real allocator is known: what it gets then comes from here. */
static _Alignas(64) char bump[64 * 1024];
static size_t bump_used;

static int from_bump(const void *block)
{
    return (const char *)block >= bump && (const char *)block < bump + sizeof bump;
}

static void *bump_alloc(size_t size)
{
    size_t start = (bump_used + 63) & ~(size_t)63;
    if (size > sizeof bump - start)
        abort();
    bump_used = start + size;
    return bump + start;
}

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    ssize_t (*read)(int, void *, size_t);
    ssize_t (*write)(int, const void *, size_t);
    int (*poll)(struct pollfd *, nfds_t, int);
    int (*ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    ssize_t (*send)(int, const void *, size_t, int);
    ssize_t (*sendmsg)(int, const struct msghdr *, int);
} real;
static int resolving, resolved;

/* Called from the constructor, or by the first call before it; only one thread exists then. */
static void resolve(void)
{
    resolving = 1;
#define RESOLVE(name) (*(void **)&real.name = dlsym(RTLD_NEXT, #name))
    RESOLVE(malloc); RESOLVE(calloc); RESOLVE(realloc); RESOLVE(free);
    RESOLVE(posix_memalign); RESOLVE(aligned_alloc); RESOLVE(memalign);
    RESOLVE(read); RESOLVE(write); RESOLVE(poll); RESOLVE(ppoll);
    RESOLVE(send); RESOLVE(sendmsg);
    resolved = 1;
    resolving = 0;
}

static void ready(void)
{
    if (!resolved && !resolving)
        resolve();
}

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "count_calls: %s %s: %s\n", what, which, strerror(errno));
    _exit(127);
}

__attribute__((constructor)) static void map_the_counts(void)
{
    ready();
    const char *path = getenv("COUNT_CALLS_FILE");
    if (path == NULL || *path == '\0') {
        errno = EINVAL;
        fail("COUNT_CALLS_FILE must name a file;", "it is not set");
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fail("cannot open", path);
    if (ftruncate(fd, 4096) != 0)
        fail("cannot set the size of", path);
    _Atomic uint64_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        fail("cannot map", path);
    close(fd);
    for (int slot = 0; slot < SLOTS; slot++)
        page[slot] = early_counts[slot];
    counts = page;
    unsetenv("COUNT_CALLS_FILE");
    unsetenv("LD_PRELOAD");
}

void *malloc(size_t size)
{
    ready();
    if (!real.malloc)
        return bump_alloc(size);
    count(MALLOC);
    return real.malloc(size);
}

void *calloc(size_t number, size_t size)
{
    ready();
    if (!real.calloc)
        return bump_alloc(number * size); /* static memory, handed out once: already zero */
    count(CALLOC);
    return real.calloc(number, size);
}

void *realloc(void *block, size_t size)
{
    ready();
    if (!real.realloc || from_bump(block)) {
        void *copy = real.malloc ? real.malloc(size) : bump_alloc(size);
        if (copy && block) {
            size_t left = (size_t)(bump + sizeof bump - (char *)block);
            memcpy(copy, block, size < left ? size : left);
        }
        return copy;
    }
    count(block == NULL ? MALLOC : REALLOC); /* realloc(3): the same, and it makes a new block */
    return real.realloc(block, size);
}

void free(void *block)
{
    if (block == NULL || from_bump(block))
        return;
    ready();
    count(FREE);
    real.free(block);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    ready();
    count(POSIX_MEMALIGN);
    return real.posix_memalign(block, alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    ready();
    count(ALIGNED_ALLOC);
    return real.aligned_alloc(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    ready();
    count(MEMALIGN);
    return real.memalign(alignment, size);
}

ssize_t read(int fd, void *buffer, size_t size)
{
    ready();
    count(READ);
    return real.read(fd, buffer, size);
}

ssize_t write(int fd, const void *buffer, size_t size)
{
    ready();
    count(WRITE);
    return real.write(fd, buffer, size);
}

int poll(struct pollfd *fds, nfds_t number, int timeout_ms)
{
    ready();
    count(POLL);
    return real.poll(fds, number, timeout_ms);
}

/* What a program built with -D_FORTIFY_SOURCE may call for poll() and read(). */
int __poll_chk(struct pollfd *fds, nfds_t number, int timeout_ms, size_t size);
int __poll_chk(struct pollfd *fds, nfds_t number, int timeout_ms, size_t size)
{
    ready();
    if (size / sizeof *fds < number)
        abort();
    count(POLL);
    return real.poll(fds, number, timeout_ms);
}

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);
ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room)
{
    ready();
    if (size > room)
        abort();
    count(READ);
    return real.read(fd, buffer, size);
}

int ppoll(struct pollfd *fds, nfds_t number, const struct timespec *timeout, const sigset_t *mask)
{
    ready();
    count(POLL);
    return real.ppoll(fds, number, timeout, mask);
}

ssize_t send(int fd, const void *buffer, size_t size, int flags)
{
    ready();
    count(SEND);
    return real.send(fd, buffer, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ready();
    count(SENDMSG);
    return real.sendmsg(fd, message, flags);
}
