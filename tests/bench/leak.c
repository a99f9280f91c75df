/*
 * A process that leaks evenly from when it is told to, and says how a signal found it.
 *
 *   leak NAME BASE_MIB LIMIT_MIB MB_PER_S [CGROUP_DIRECTORY]
 *       Takes the name, touches BASE_MIB, prints "ready". At a line "MILLISECONDS" on standard input it
 *       waits so long and then grows by MB_PER_S (10^6 bytes; 0: to twice the limit at once), in steps of a
 *       millisecond. At SIGTERM it prints "signalled LATE_MS OVER_BYTES WALL_S LAG_MS" and ends: the time since
 *       it passed the limit (-1: it hasn't), how far it is above, the time of day in seconds, and how far
 *       its growth lags behind the rate.
 *       Its memory is its RSS, or, with a cgroup, what the kernel can't drop of memory.current; that is read when
 *       the growth begins, and what was touched since is added.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ULL << 20)
#define MOST_BYTES (16ULL << 30)

static volatile sig_atomic_t has_arrived;
static volatile double arrived_s, arrived_wall_s;

static void die(const char *what)
{
    fprintf(stderr, "leak: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void arrive(int number)
{
    (void)number;
    arrived_s = now_s(CLOCK_MONOTONIC);
    arrived_wall_s = now_s(CLOCK_REALTIME);
    has_arrived = 1;
}

/* The sum of the numbers behind some keys at the beginning of lines. */
static uint64_t sum_of(const char *directory, const char *file, const char *const *keys)
{
    char path[512], line[256];
    unsigned long long number, sum = 0;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    FILE *text = fopen(path, "r");
    if (text == NULL)
        die(path);
    while (fgets(line, sizeof line, text) != NULL)
        for (const char *const *key = keys; *key != NULL; key++)
            if (strncmp(line, *key, strlen(*key)) == 0 && sscanf(line + strlen(*key), "%llu", &number) == 1)
                sum += number;
    fclose(text);
    return sum;
}

static uint64_t used_bytes(const char *cgroup)
{
    /* smaps_rollup walks the page tables: exact, where statm may be 256 KiB off (proc(5)). */
    if (cgroup == NULL)
        return sum_of("/proc/self", "smaps_rollup", (const char *[]){"Rss:", NULL}) << 10;
    const char *const reclaimable[] = {"inactive_file ", "active_file ", "slab_reclaimable ", NULL};
    return sum_of(cgroup, "memory.current", (const char *[]){"", NULL}) - sum_of(cgroup, "memory.stat", reclaimable);
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6) {
        fputs("usage: leak NAME BASE_MIB LIMIT_MIB MB_PER_S [CGROUP_DIRECTORY]\n", stderr);
        return 2;
    }
    const uint64_t limit_bytes = strtoull(argv[3], NULL, 10) * MIB;
    const double rate_bytes_s = strtod(argv[4], NULL) * 1e6;
    const struct sigaction action = {.sa_handler = arrive};
    if (sigaction(SIGTERM, &action, NULL) != 0 || prctl(PR_SET_NAME, argv[1]) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        die("start");
    char *memory = mmap(NULL, MOST_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    madvise(memory, MOST_BYTES, MADV_NOHUGEPAGE);
    uint64_t touched = strtoull(argv[2], NULL, 10) * MIB;
    memset(memory, 1, touched);
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    char line[64];
    if (fgets(line, sizeof line, stdin) == NULL)
        return 0;
    usleep((useconds_t)(strtod(line, NULL) * 1e3));

    const uint64_t base = used_bytes(argv[5]), first = touched;
    const double begun_s = now_s(CLOCK_MONOTONIC);
    const struct timespec step = {.tv_nsec = 1000000};
    double passed_s = 0, wanted = 0;
    while (!has_arrived) {
        wanted = rate_bytes_s > 0 ? (now_s(CLOCK_MONOTONIC) - begun_s) * rate_bytes_s : 2.0 * limit_bytes;
        uint64_t goal = first + (uint64_t)wanted;
        if (goal > MOST_BYTES)
            break;
        while (touched < goal && !has_arrived) {
            memory[touched] = 1;
            touched += 4096;
            if (passed_s == 0 && base + touched - first > limit_bytes)
                passed_s = now_s(CLOCK_MONOTONIC);
        }
        if (!has_arrived)
            nanosleep(&step, NULL);
    }
    double late_ms = passed_s > 0 ? (arrived_s - passed_s) * 1e3 : -1;
    double lag_bytes = wanted - (double)(touched - first);
    printf("signalled %.2f %lld %.6f %.2f\n", late_ms,
           (long long)(base + touched - first) - (long long)limit_bytes, arrived_wall_s,
           rate_bytes_s > 0 ? lag_bytes / rate_bytes_s * 1e3 : 0);
    return 0;
}
