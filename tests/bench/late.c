/*
 * A witness of how late this machine wakes a program: late CPU sleeps 5 ms at a time on that CPU, and prints
 * "WALL_S LATE_MS" (the time of day, and how late it was) each time that it was woken 10 ms late or more.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TICK_NS 5000000L
#define LATE_MS 10.0

static double now_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0) {
        perror("late: sched_setaffinity");
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const struct timespec tick = {.tv_nsec = TICK_NS};
    for (;;) {
        double due_s = now_s(CLOCK_MONOTONIC) + TICK_NS / 1e9;
        nanosleep(&tick, NULL);
        double late_ms = (now_s(CLOCK_MONOTONIC) - due_s) * 1e3;
        if (late_ms >= LATE_MS)
            printf("%.6f %.2f\n", now_s(CLOCK_REALTIME), late_ms);
    }
}
