#!/usr/bin/python3
"""A worker that leaks as fast as it is told to by its file, and finishes the job at hand when told to end.

    worker.py FILE

FILE holds how many MiB it leaks in each job; a job takes half a second.
"""

import signal
import sys
import threading
from pathlib import Path

asked = threading.Event()


def main() -> None:
    """Works until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    file = Path(sys.argv[1])
    kept = []
    print("ready", flush=True)
    while not asked.wait(0.5):
        kept.append(b"x" * (int(file.read_text()) << 20))
    print("SIGTERM: the job at hand is finished, bye", flush=True)


main()
