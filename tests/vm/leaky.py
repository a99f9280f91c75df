"""A service for the tests: does what it is told by a FIFO, and writes down what happens to it.

    python3 -IS leaky.py DIRECTORY [ORDER...]

DIRECTORY/orders is the FIFO; the orders on the command line are obeyed at each start. Each line of
DIRECTORY/said is the monotonic time in seconds, the PID, and what was done or which signal came. In a unit
with Type=notify it is ready once it has started.

    grow MIB    take this much more memory and touch it
    free        give all of that back
    cache MIB   read a file of this size again and again, so that it stays in the page cache
    write MIB   write a file of this size again and again
    name NAME   have this process name
    ignore      go on after SIGTERM
    drain S     take so many seconds to end after SIGTERM
    child       make a child that takes the same orders by DIRECTORY/child, and does not end with this one
"""

import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

MIB = 1 << 20
NAMES = {"SIGTERM": 15, "SIGUSR1": 10, "SIGUSR2": 12, "SIGHUP": 1}


class Service:
    """One process of the service and its orders."""

    def __init__(self, directory: str, orders: str) -> None:
        """Takes orders from the FIFO of that name, which is made if need be."""
        self.directory = directory
        self.pages: list[mmap.mmap] = []
        self.at_work: Callable[[], None] | None = None
        self.ignores = False
        self.drain_s = 0.0
        self.orders = open_fifo(f"{directory}/{orders}")
        for name, number in NAMES.items():
            signal.signal(number, lambda *_, name=name: self.signalled(name))
        self.say("started")
        if "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])

    def say(self, what: str) -> None:
        """Writes a line, whole or not at all."""
        said = os.open(f"{self.directory}/said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.write(said, f"{time.monotonic():.3f} {os.getpid()} {what}\n".encode())
        os.close(said)

    def signalled(self, name: str) -> None:
        """Ends by SIGTERM, unless it was told to ignore that."""
        self.say(name)
        if name == "SIGTERM" and not self.ignores:
            time.sleep(self.drain_s)
            os._exit(0)

    def run(self) -> None:
        """Obeys until it is signalled."""
        poll = select.poll()
        poll.register(self.orders, select.POLLIN)
        while True:
            if poll.poll(0 if self.at_work else None):
                for order in os.read(self.orders, 4096).decode().splitlines():
                    self.obey(order)
            if self.at_work:
                self.at_work()

    def obey(self, order: str) -> None:
        """Does one of the things that the module's text lists, then says so; signals come after that."""
        signal.pthread_sigmask(signal.SIG_BLOCK, NAMES.values())
        try:
            self.do(order)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, NAMES.values())

    def do(self, order: str) -> None:
        """Does it and says so."""
        word, _, value = order.partition(" ")
        if word == "grow":
            self.pages.append(touched(int(value) * MIB))
        elif word == "free":
            while self.pages:
                self.pages.pop().close()
        elif word == "cache":
            self.at_work = partial(read_whole, open_holes(f"{self.directory}/file", int(value) * MIB))
        elif word == "write":
            self.at_work = partial(write_whole, open_holes(f"{self.directory}/file", 0), int(value))
        elif word == "name":
            with open("/proc/self/comm", "w") as comm:
                comm.write(value)
        elif word == "ignore":
            self.ignores = True
        elif word == "drain":
            self.drain_s = float(value)
        elif word == "child":
            if os.fork() == 0:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, NAMES.values())
                Service(self.directory, "child").run()
        else:
            order = f"unknown order {order!r}"
        self.say(order)


def open_fifo(path: str) -> int:
    """Opens a FIFO for writing too, so that it never has an end."""
    if not os.path.exists(path):
        os.mkfifo(path, 0o666)
    return os.open(path, os.O_RDWR)


def touched(size_bytes: int) -> mmap.mmap:
    """Memory that the kernel really had to give: at once, for 9,000 page faults take 1 s here."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return mmap.mmap(-1, size_bytes, flags=flags)


def open_holes(path: str, size_bytes: int) -> int:
    """Opens a file without a block on the disk: its page cache is memory like any other."""
    holes = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.truncate(holes, size_bytes)
    return holes


def read_whole(file: int) -> None:
    """Reads a file from its beginning to its end."""
    os.lseek(file, 0, os.SEEK_SET)
    while os.read(file, MIB):
        pass


def write_whole(file: int, mib: int) -> None:
    """Writes a file from its beginning to its end."""
    os.lseek(file, 0, os.SEEK_SET)
    block = bytes(MIB)
    for _ in range(mib):
        os.write(file, block)


def main() -> None:
    """Obeys the command line, then the FIFO."""
    service = Service(sys.argv[1], "orders")
    for order in sys.argv[2:]:
        service.obey(order)
    service.run()


main()
