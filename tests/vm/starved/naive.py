"""What is written in an afternoon, as the control of test_starved.py: psutil in a loop.

python3 naive.py NAME LIMIT_BYTES INTERVAL_S
"""

import os
import signal
import sys
import time

import psutil


def main() -> None:
    """Signals each process of a name that has more memory of its own than the limit, for ever."""
    name, limit_bytes, interval_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    while True:
        for process in psutil.process_iter(["name", "memory_info"]):
            memory = process.info["memory_info"]
            if process.info["name"] == name and memory.rss - memory.shared > limit_bytes:
                print(f"{process.pid} has {memory.rss >> 20} MiB: SIGTERM", flush=True)
                os.kill(process.pid, signal.SIGTERM)
        time.sleep(interval_s)


main()
