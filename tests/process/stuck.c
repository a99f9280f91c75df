// A process whose memory map can't be read: who asks for its arguments or its mapped memory waits.
//
// stuck NAME DIRECTORY
//
// A FUSE server that never answers a read serves a file in DIRECTORY, which the process called NAME maps. A reader of
// that page by /proc/PID/mem waits in the page fault, with the lock of the memory map held for reading; the process
// itself then asks for another mapping, and waits for that lock for writing; whoever comes next waits behind it
// (/proc/PID/cmdline, smaps_rollup). "stuck" is said just before. When the server ends, all of them go on.
//
// It takes root. The mount is in a mount namespace of its own, and nothing of it outlives the program.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, REQUEST = 1 << 17, LONGEST_S = 120, FILE_NODE = 2 };

static void fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
}

static struct fuse_attr attributes(uint64_t node) {
    struct fuse_attr found = {.ino = node, .nlink = 1, .size = PAGE};
    found.mode = node == FILE_NODE ? S_IFREG | 0444 : S_IFDIR | 0555;
    return found;
}

static void answer(int fuse, uint64_t unique, int error, const void *body, size_t size) {
    char message[256];
    struct fuse_out_header head = {.len = sizeof head + size, .error = error, .unique = unique};
    memcpy(message, &head, sizeof head);
    memcpy(message + sizeof head, body, size);
    if (write(fuse, message, head.len) < 0 && errno != ENOENT) fail("answering the kernel");
}

// Until it is killed, or LONGEST_S are over.
static void serve(int fuse, int read_came) {
    static char request[REQUEST];
    alarm(LONGEST_S);
    while (read(fuse, request, sizeof request) > 0) {
        struct fuse_in_header *head = (struct fuse_in_header *)request;
        if (head->opcode == FUSE_INIT) {
            struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
            out.max_write = PAGE;
            answer(fuse, head->unique, 0, &out, sizeof out);
        } else if (head->opcode == FUSE_LOOKUP) {
            struct fuse_entry_out out = {.nodeid = FILE_NODE, .attr = attributes(FILE_NODE)};
            answer(fuse, head->unique, 0, &out, sizeof out);
        } else if (head->opcode == FUSE_GETATTR) {
            struct fuse_attr_out out = {.attr = attributes(head->nodeid)};
            answer(fuse, head->unique, 0, &out, sizeof out);
        } else if (head->opcode == FUSE_OPEN) {
            struct fuse_open_out out = {.fh = 1};
            answer(fuse, head->unique, 0, &out, sizeof out);
        } else if (head->opcode == FUSE_READ) {
            if (write(read_came, "", 1) != 1) exit(0);
        } else if (head->opcode != FUSE_FORGET && head->opcode != FUSE_INTERRUPT) {
            answer(fuse, head->unique, -ENOSYS, "", 0);
        }
    }
    exit(0);
}

static pid_t forked(void) {
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

int main(int count, char **arguments) {
    char options[64], path[512], byte;
    int read_came[2];
    if (count != 3) return 2;
    if (unshare(CLONE_NEWNS) < 0) fail("a mount namespace");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) fail("a private mount namespace");
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse < 0) fail("/dev/fuse");
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (mount("stuck", arguments[2], "fuse", 0, options) < 0) fail("mounting a FUSE filesystem");
    if (pipe(read_came) < 0) fail("pipe");

    if (forked() == 0) serve(fuse, read_came[1]);
    close(fuse);
    close(read_came[1]);
    snprintf(path, sizeof path, "%s/file", arguments[2]);
    int file = open(path, O_RDONLY);
    if (file < 0) fail(path);
    char *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    if (page == MAP_FAILED) fail("mapping the file");
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // where Yama is; else EINVAL
    snprintf(path, sizeof path, "/proc/%d/mem", getpid());
    if (forked() == 0) {  // holds the lock for reading
        int memory = open(path, O_RDONLY);
        exit(memory < 0 || pread(memory, &byte, 1, (off_t)(uintptr_t)page) < 0);
    }
    if (read(read_came[0], &byte, 1) != 1) fail("no one has read the page");
    prctl(PR_SET_NAME, arguments[1]);
    if (write(1, "stuck\n", 6) != 6) return 1;  // stdio would allocate
    mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);  // waits for the lock
    for (;;) pause();
}
