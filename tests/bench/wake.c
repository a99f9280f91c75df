/* A program that only sleeps: wake MILLISECONDS. What a wake-up costs at least. */
#include <poll.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int wait_ms = argc > 1 ? atoi(argv[1]) : 10;
    for (;;)
        poll(NULL, 0, wait_ms);
}
