/*
 * A child for tests with real processes: it takes memory as told and says each signal it gets.
 *
 *   leaker alone NAME MIB GROW_KIB_S IGNORE UID
 *       Touches MIB, grows by GROW_KIB_S, prints "ready", then one line for each signal.
 *       SIGTERM ends it with status 0, unless IGNORE is 1.
 *       From standard input it takes: "rename NAME", "grow MIB", "shrink MIB".
 *   leaker crowd NAME MIB COUNT IGNORE UID
 *       Forks COUNT children with that name, prints "ready", then "PID SIGNAL" for each child that
 *       a signal has ended ("PID exit" for another end). IGNORE 1: the children ignore SIGTERM.
 *       From standard input it takes: "add COUNT" (prints "born PID" for each), "kill COUNT".
 *       At the end of input it ends and reaps them all, and itself.
 *
 * UID -1 keeps the user. Whoever started it and ends takes it along: PR_SET_PDEATHSIG.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 10
#define MOST_BYTES (64ULL << 30) /* addresses only: memory comes with the first touch */
#define MOST_CHILDREN 20000

static struct {
    const char *name;
    unsigned long long mib, rate_or_count;
    int ignore;
    long uid;
} told;

static char *memory;
static uint64_t touched_bytes;
static pid_t children[MOST_CHILDREN];
static size_t born;
static int settled[2]; /* a pipe: each child writes a byte once it has its name, user and memory */

static void die(const char *what)
{
    fprintf(stderr, "leaker: %s: %s\n", what, strerror(errno));
    _exit(1); /* not exit(): in a forked child it would write the parent's buffered lines again */
}

static unsigned long long number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end != '\0') {
        errno = EINVAL;
        die(text);
    }
    return value;
}

static void touch_up_to(uint64_t bytes)
{
    if (bytes > MOST_BYTES) {
        errno = ENOMEM;
        die("more than 64 GiB");
    }
    if (bytes > touched_bytes) {
        memset(memory + touched_bytes, 1, bytes - touched_bytes);
        touched_bytes = bytes;
    }
}

static void give_back(uint64_t bytes)
{
    if (bytes > touched_bytes) {
        errno = EINVAL;
        die("less than nothing");
    }
    touched_bytes -= bytes;
    if (madvise(memory + touched_bytes, bytes, MADV_DONTNEED) != 0)
        die("madvise");
}

static void take_memory(void)
{
    memory = mmap(NULL, MOST_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    /* Huge pages would make the RSS jump by 2 MiB. EINVAL: a kernel without them. */
    if (madvise(memory, MOST_BYTES, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
        die("madvise");
    touch_up_to((uint64_t)told.mib << 20);
}

static void take_name(const char *name)
{
    if (prctl(PR_SET_NAME, name) != 0)
        die("PR_SET_NAME");
}

static void take_user(void)
{
    if (told.uid < 0)
        return;
    if (setgroups(0, NULL) != 0 || setgid((gid_t)told.uid) != 0 || setuid((uid_t)told.uid) != 0)
        die("cannot become the other user (that takes root)");
}

/* After take_user(): a change of user resets it. */
static void end_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        die("PR_SET_PDEATHSIG");
    if (getppid() != parent)
        _exit(1);
}

static void say_signal(int number)
{
    const char *name = sigabbrev_np(number);
    if (name != NULL)
        printf("SIG%s\n", name);
    else
        printf("SIGRTMIN+%d\n", number - SIGRTMIN);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One line from standard input, without its end; NULL at the end of input. */
static char *command(void)
{
    static char line[256];
    size_t length = 0;
    while (length < sizeof line - 1) {
        ssize_t got = read(STDIN_FILENO, line + length, 1);
        if (got < 0)
            die("standard input");
        if (got == 0)
            return NULL;
        if (line[length] == '\n')
            break;
        length++;
    }
    line[length] = '\0';
    return line;
}

static const char *argument(const char *line, const char *verb)
{
    size_t length = strlen(verb);
    return strncmp(line, verb, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

static void no_such_command(const char *line)
{
    errno = EINVAL;
    die(line);
}

static int take_signals(const sigset_t *which)
{
    if (sigprocmask(SIG_BLOCK, which, NULL) != 0)
        die("sigprocmask");
    int fd = signalfd(-1, which, SFD_CLOEXEC);
    if (fd < 0)
        die("signalfd");
    return fd;
}

static void alone_obeys(const char *line)
{
    const char *rest;
    if ((rest = argument(line, "rename"))) {
        take_name(rest);
        puts("renamed");
    } else if ((rest = argument(line, "grow"))) {
        touch_up_to(touched_bytes + ((uint64_t)number(rest) << 20));
        puts("grown");
    } else if ((rest = argument(line, "shrink"))) {
        give_back((uint64_t)number(rest) << 20);
        puts("shrunk");
    } else {
        no_such_command(line);
    }
}

static void alone(void)
{
    sigset_t all;
    sigfillset(&all);
    struct pollfd fds[] = {
        {.fd = take_signals(&all), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    take_memory();
    puts("ready");
    const double rate_bytes_s = (double)told.rate_or_count * 1024;
    double last_s = now_s();
    double owed_bytes = 0;
    for (;;) {
        if (poll(fds, 2, told.rate_or_count ? TICK_MS : -1) < 0)
            die("poll");
        if (fds[0].revents) {
            struct signalfd_siginfo info;
            if (read(fds[0].fd, &info, sizeof info) != sizeof info)
                die("signalfd");
            say_signal((int)info.ssi_signo);
            if (info.ssi_signo == SIGTERM && !told.ignore)
                return;
        }
        if (fds[1].revents) {
            const char *line = command();
            if (line == NULL)
                fds[1].fd = -1;
            else
                alone_obeys(line);
        }
        double time_s = now_s();
        owed_bytes += (time_s - last_s) * rate_bytes_s;
        last_s = time_s;
        uint64_t whole = (uint64_t)owed_bytes;
        touch_up_to(touched_bytes + whole);
        owed_bytes -= (double)whole;
    }
}

static void live_as_a_child(pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    if (told.ignore)
        signal(SIGTERM, SIG_IGN);
    take_user();
    end_with(parent);
    take_name(told.name);
    if (told.mib > 0)
        take_memory();
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        die("sigprocmask");
    if (write(settled[1], "", 1) != 1)
        die("cannot tell the parent");
    for (;;)
        pause();
}

static void add_children(unsigned long long count)
{
    pid_t parent = getpid();
    fflush(stdout);
    for (unsigned long long done = 0; done < count; done++) {
        if (born == MOST_CHILDREN) {
            errno = ENOSPC;
            die("too many children");
        }
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            live_as_a_child(parent);
        children[born++] = pid;
        printf("born %d\n", (int)pid);
    }
    char byte;
    for (unsigned long long done = 0; done < count; done++)
        if (read(settled[0], &byte, 1) != 1)
            die("cannot hear from the children");
}

static void kill_children(unsigned long long count)
{
    for (size_t i = 0; i < born && count > 0; i++) {
        if (children[i] == 0)
            continue;
        if (kill(children[i], SIGKILL) != 0)
            die("kill");
        count--;
    }
}

static void reap_children(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < born; i++)
            if (children[i] == pid)
                children[i] = 0;
        printf("%d ", (int)pid);
        if (WIFSIGNALED(status))
            say_signal(WTERMSIG(status));
        else
            puts("exit");
    }
}

/* Reaped here, none is left to init as a zombie which still has the name. */
static void end_children(void)
{
    kill_children(born);
    while (waitpid(-1, NULL, 0) > 0)
        ;
}

static void crowd_obeys(const char *line)
{
    const char *rest;
    if ((rest = argument(line, "add"))) {
        add_children(number(rest));
        puts("added");
    } else if ((rest = argument(line, "kill"))) {
        kill_children(number(rest));
    } else {
        no_such_command(line);
    }
}

/* The parent keeps the name of this program, so it doesn't match the children's. */
static void crowd(void)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    struct pollfd fds[] = {
        {.fd = take_signals(&child), .events = POLLIN},
        {.fd = STDIN_FILENO, .events = POLLIN},
    };
    if (pipe(settled) != 0)
        die("pipe");
    add_children(told.rate_or_count);
    puts("ready");
    for (;;) {
        fflush(stdout);
        if (poll(fds, 2, -1) < 0)
            die("poll");
        if (fds[0].revents) {
            struct signalfd_siginfo info;
            if (read(fds[0].fd, &info, sizeof info) != sizeof info)
                die("signalfd");
            reap_children();
        }
        if (fds[1].revents) {
            const char *line = command();
            if (line == NULL) {
                end_children();
                return;
            }
            crowd_obeys(line);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("usage: leaker alone|crowd NAME MIB GROW_KIB_S|COUNT IGNORE UID\n", stderr);
        return 2;
    }
    told.name = argv[2];
    told.mib = number(argv[3]);
    told.rate_or_count = number(argv[4]);
    told.ignore = number(argv[5]) != 0;
    told.uid = strcmp(argv[6], "-1") == 0 ? -1 : (long)number(argv[6]);
    pid_t parent = getppid();
    if (strcmp(argv[1], "crowd") == 0) {
        end_with(parent);
        setvbuf(stdout, NULL, _IOFBF, 1 << 16);
        crowd();
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    take_user();
    end_with(parent);
    take_name(told.name);
    alone();
    return 0;
}
