"""A service that leaks 25 MiB a second, and ends well when it is asked to by SIGTERM."""

import os
import signal
import sys
import threading

import psutil

MIB = 1024 * 1024
LEAK_BYTES = 5 * MIB
PAUSE_S = 0.2
LEAKS_PER_LINE = 3
DRAIN_S = 0.5
# If nobody asks it to end: much more than the demo's limit, and little enough to hurt nobody.
GIVE_UP_BYTES = 400 * MIB


def main() -> int:
    """Leaks until it is asked to end (status 0) or until GIVE_UP_BYTES (status 1)."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    print(f"started as PID {os.getpid()}", flush=True)

    process = psutil.Process()
    leaked: list[bytes] = []
    while not asked.wait(PAUSE_S):
        # Not bytes(n): the kernel gives memory only to what was written to.
        leaked.append(b"x" * LEAK_BYTES)
        rss_bytes = process.memory_info().rss
        if rss_bytes > GIVE_UP_BYTES:
            print(f"{rss_bytes // MIB} MiB, and nobody asked me to end: giving up", flush=True)
            return 1
        if len(leaked) % LEAKS_PER_LINE == 0:
            print(f"{rss_bytes // MIB} MiB after {len(leaked)} requests", flush=True)

    print("SIGTERM: finishing the 3 requests at hand ...", flush=True)
    threading.Event().wait(DRAIN_S)
    print("... done, bye", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
