"""The service of the picture: reads a file again and again, leaks 8 MiB a second, and finishes its work.

    photos.py FILE

FILE is made, of 300 MB. SIGTERM is followed by 2 s of work, and the end.
"""

import os
import signal
import sys
import time

MIB = 1 << 20
FILE_BYTES = 300 * 1000 * 1000
LEAK_BYTES = MIB
LEAK_EVERY_S = 0.125
LAST_WORK_S = 2.0


def main() -> None:
    """Works until SIGTERM."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    print("started", flush=True)
    # A file without a block on the disk: its page cache is memory like any other.
    file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    os.truncate(file, FILE_BYTES)
    leaked = []
    leak_at_s = time.monotonic()
    while not asked:
        if not os.read(file, MIB):
            os.lseek(file, 0, os.SEEK_SET)
        if time.monotonic() >= leak_at_s:
            leak_at_s += LEAK_EVERY_S
            leaked.append(b"x" * LEAK_BYTES)
    print("SIGTERM", flush=True)
    time.sleep(LAST_WORK_S)


main()
