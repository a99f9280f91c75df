/*
 * A process whose memory map stays locked: it sits in a mmap(2) that a FUSE server doesn't let end.
 *
 *   stuck NAME MIB DIRECTORY DEVICE UID
 *       DEVICE is /dev/fuse or its like. Becomes that user (-1: stays), touches MIB, mounts a file system of its own on DIRECTORY (in a user namespace: any user can) and
 *       prints "stuck" once the mmap waits. A line on standard input, or its end, ends the server, and with
 *       it the wait: then it prints "free" and waits for the end of input.
 *
 * How: a page of a FUSE file is made dirty. The file is opened again with FOPEN_DIRECT_IO, whose mmap has to
 * write that page first (fuse_file_mmap: invalidate_inode_pages2), with the lock held; nobody answers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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

#define FILE_NODE 2
#define PAGE 4096

static void die(const char *what)
{
    fprintf(stderr, "stuck: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void take_user(long uid)
{
    if (uid < 0)
        return;
    if (setgroups(0, NULL) != 0 || setgid((gid_t)uid) != 0 || setuid((uid_t)uid) != 0)
        die("cannot become the other user (that takes root)");
    /* A change of user makes it one that can't be traced, whose files in /proc are root's. */
    if (prctl(PR_SET_DUMPABLE, 1) != 0)
        die("PR_SET_DUMPABLE");
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

static void take_namespaces(void)
{
    char map[64];
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        die("unshare");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %d 1", (int)uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %d 1", (int)gid);
    write_file("/proc/self/gid_map", map);
}

static void answer(int fuse, uint64_t unique, int error, const void *body, size_t length)
{
    char reply[512];
    struct fuse_out_header head = {.len = sizeof head + length, .error = error, .unique = unique};
    memcpy(reply, &head, sizeof head);
    if (length)
        memcpy(reply + sizeof head, body, length);
    if (write(fuse, reply, head.len) < 0 && errno != ENOENT)
        die("a reply");
}

static struct fuse_attr attributes(uint64_t node)
{
    struct fuse_attr attr = {.ino = node, .nlink = 1};
    attr.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0777 : S_IFREG | 0666;
    attr.size = node == FUSE_ROOT_ID ? 0 : PAGE;
    return attr;
}

/* Never answers a write; says so by a byte. */
static void serve(int fuse, int told)
{
    static char request[1 << 18];
    int opened = 0;
    for (;;) {
        ssize_t length = read(fuse, request, sizeof request);
        if (length < 0) {
            if (errno == EINTR)
                continue;
            _exit(0); /* unmounted */
        }
        struct fuse_in_header *in = (void *)request;
        switch (in->opcode) {
        case FUSE_INIT: {
            struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
                                        .max_write = PAGE, .max_readahead = PAGE,
                                        .flags = FUSE_WRITEBACK_CACHE | FUSE_BIG_WRITES,
                                        .max_background = 12, .congestion_threshold = 9};
            answer(fuse, in->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_LOOKUP: {
            struct fuse_entry_out out = {.nodeid = FILE_NODE, .attr_valid = 3600, .entry_valid = 3600,
                                         .attr = attributes(FILE_NODE)};
            answer(fuse, in->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_GETATTR: case FUSE_SETATTR: {
            struct fuse_attr_out out = {.attr_valid = 3600, .attr = attributes(in->nodeid)};
            answer(fuse, in->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_OPEN: {
            struct fuse_open_out out = {.open_flags = opened++ ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE};
            answer(fuse, in->unique, 0, &out, sizeof out);
            break;
        }
        case FUSE_READ: {
            static const char page[256];
            answer(fuse, in->unique, 0, page, sizeof page);
            break;
        }
        case FUSE_WRITE:
            if (write(told, "w", 1) != 1)
                die("telling");
            break;
        case FUSE_FORGET: case FUSE_BATCH_FORGET: case FUSE_INTERRUPT:
            break;
        default:
            answer(fuse, in->unique, -ENOSYS, NULL, 0);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: stuck NAME MIB DIRECTORY DEVICE UID\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    size_t bytes = (size_t)atoi(argv[2]) << 20;
    char *memory = malloc(bytes + 1);
    if (memory == NULL)
        die("malloc");
    memset(memory, 1, bytes + 1);
    take_user(atol(argv[5]));
    take_namespaces();
    int fuse = open(argv[4], O_RDWR | O_CLOEXEC);
    if (fuse < 0)
        die(argv[4]);
    char options[128], path[4096];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (mount("stuck", argv[3], "fuse", MS_NOSUID | MS_NODEV, options) != 0)
        die("mount");
    int told[2];
    if (pipe(told) != 0)
        die("pipe");
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_NAME, "fuse-server");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(fuse, told[1]);
    }
    close(fuse);
    close(told[1]);
    pid_t watcher = fork();
    if (watcher == 0) {
        /* Ends the server when it is told to, or when whoever started all this has ended. */
        char byte;
        prctl(PR_SET_NAME, "fuse-watcher");
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (read(told[0], &byte, 1) == 1)
            puts("stuck");
        while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n')
            ;
        kill(server, SIGKILL);
        _exit(0);
    }
    /* It has the name, and its memory, for a moment before the map is locked. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    if (prctl(PR_SET_NAME, argv[1]) != 0)
        die("PR_SET_NAME");
    snprintf(path, sizeof path, "%s/file", argv[3]);
    int cached = open(path, O_RDWR), direct = open(path, O_RDWR);
    if (cached < 0 || direct < 0)
        die(path);
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cached, 0);
    if (page == MAP_FAILED)
        die("the first mmap");
    page[0] = 1;
    mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, direct, 0);
    puts("free");
    char byte;
    while (read(STDIN_FILENO, &byte, 1) == 1)
        ;
    return 0;
}
