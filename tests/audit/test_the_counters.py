"""The audit can fail: what a process does to its memory is counted, and what it doesn't is not."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest

from tests.audit.counting import Calls, CountFile, Faults, Trace, faults, syscalls
from tests.process.waiting import eventually

ANSWER_DEADLINE_S = 30
# Does one step for each byte that it reads, and answers with a byte.
STEPS = """
import ctypes, mmap, os, select
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p
libc.realloc.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
kept = []

def work():
    {work}

os.write(1, b"r")
while os.read(0, 1):
    work()
    os.write(1, b"d")
"""
# Waits again and again, as a quiet monitor does.
IDLE = """
import select
wait = select.poll().poll
while True:
    wait(1)
"""


class Stepper:
    """A Python child that does its work once for each step()."""

    def __init__(self, work: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", STEPS.format(work=work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | environment,
        )
        self.pid = self._process.pid

    def warm_up(self) -> None:
        """The first rounds allocate what later ones reuse."""
        self._expect(b"r")
        for _ in range(3):
            self.step()

    def step(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"s")
        self._expect(b"d")

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def _expect(self, answer: bytes) -> None:
        assert self._process.stdout is not None
        there, _, _ = select.select([self._process.stdout], [], [], ANSWER_DEADLINE_S)
        assert there, f"no answer from the child within {ANSWER_DEADLINE_S} s"
        assert self._process.stdout.read(1) == answer


@contextmanager
def stepper(work: str, environment: dict[str, str] | None = None) -> Iterator[Stepper]:
    child = Stepper(work, environment or {})
    try:
        child.warm_up()
        yield child
    finally:
        child.end()


@contextmanager
def idle(environment: dict[str, str] | None = None) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", IDLE], env=os.environ | (environment or {})) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def count_file(library: Path) -> Iterator[CountFile]:
    with CountFile(library) as file:
        yield file


def calls_of_one_step(work: str, file: CountFile) -> Calls:
    with stepper(work, file.environment) as child:
        before = file.read()
        child.step()
        return file.read() - before


def test_100_mallocs_are_counted(count_file: CountFile) -> None:
    calls = calls_of_one_step("for _ in range(100): libc.malloc(24)", count_file)
    assert 100 <= calls.malloc < 1000


def test_100_python_objects_are_100_allocator_calls(count_file: CountFile) -> None:
    calls = calls_of_one_step("kept.append([object() for _ in range(100)])", count_file)
    assert 100 <= calls.allocator_calls < 200


def test_each_way_to_ask_for_memory_is_an_allocator_call(count_file: CountFile) -> None:
    for call in (
        "libc.malloc(24)",
        "libc.calloc(3, 8)",
        "libc.realloc(libc.malloc(24), 48)",
        "libc.posix_memalign(ctypes.byref(ctypes.c_void_p()), 64, 64)",
        "libc.aligned_alloc(64, 64)",
        "libc.memalign(64, 64)",
    ):
        many = calls_of_one_step(f"for _ in range(1000): {call}", count_file)
        name = call.split("(")[0].removeprefix("libc.")
        assert getattr(many, name) >= 1000, call
        assert many.allocator_calls >= getattr(many, name), call


def test_realloc_of_nothing_is_malloc(count_file: CountFile) -> None:
    calls = calls_of_one_step("for _ in range(1000): libc.realloc(None, 24)", count_file)
    assert calls.malloc >= 1000 > calls.realloc


def test_blocks_that_live_are_those_taken_less_those_given_back(count_file: CountFile) -> None:
    taken = calls_of_one_step("kept.append([object() for _ in range(1000)])", count_file)
    assert 1000 <= taken.living_blocks < 1100
    given_back = calls_of_one_step("for _ in range(1000): bytes(1000)", count_file)
    assert -100 < given_back.living_blocks < 100


def test_memory_given_back_is_counted_apart(count_file: CountFile) -> None:
    calls = calls_of_one_step("for _ in range(100): bytes(1000)", count_file)
    assert calls.free >= 100
    assert calls.allocator_calls < 200


def test_a_process_that_only_waits_calls_no_allocator(count_file: CountFile) -> None:
    with idle(count_file.environment):
        eventually(lambda: count_file.read().looks >= 20, 30, "20 looks")
        before = count_file.read()
        eventually(lambda: (count_file.read() - before).looks >= 200, 30, "200 looks")
        calls = count_file.read() - before
    assert calls.allocator_calls == 0
    assert calls.free == 0


def test_reads_writes_and_sends_are_counted(count_file: CountFile) -> None:
    work = "for _ in range(10): a.send(b'x'); a.sendmsg([b'x']); os.read(z, 9)"
    opened = "import socket; a, b = socket.socketpair(); z = os.open('/dev/zero', os.O_RDONLY)"
    calls = calls_of_one_step(f"{opened}\n    {work}", count_file)
    assert (calls.send, calls.sendmsg, calls.write) == (10, 10, 1)
    # The child may or may not have begun to read its next step when the counts are read.
    assert 10 <= calls.read <= 12


def test_what_a_counted_process_starts_is_not_counted(count_file: CountFile) -> None:
    work = "os.spawnv(os.P_WAIT, '/bin/sh', ['sh', '-c', 'test -z \"$LD_PRELOAD\"']) and os.abort()"
    with stepper(work, count_file.environment) as child:
        child.step()


def test_the_names_of_the_counts_are_those_of_the_library(count_file: CountFile, library: Path) -> None:
    code = (
        "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]);"
        "print(ctypes.c_char_p.in_dll(library, 'count_calls_names').value.decode())"
    )
    names = subprocess.run(
        [sys.executable, "-c", code, library],
        env=os.environ | count_file.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert names.split() == [field.name for field in fields(Calls)]


@pytest.mark.parametrize("path", ["", "/nonexistent/counts"])
def test_a_process_that_cannot_be_counted_does_not_start(library: Path, path: str) -> None:
    done = subprocess.run(
        ["/bin/true"],
        env={"LD_PRELOAD": os.fspath(library), "COUNT_CALLS_FILE": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 127
    assert path in done.stderr
    assert done.stderr.startswith("count_calls: ")


def test_memory_system_calls_are_seen_and_so_are_their_faults() -> None:
    pages = 50
    work = f"m = mmap.mmap(-1, {pages} * mmap.PAGESIZE); m.write(bytes(len(m))); m.close()"
    with stepper(work) as child:
        before = faults(child.pid)
        with Trace(child.pid) as trace:
            for _ in range(3):
                child.step()
        assert trace.calls["mmap"] >= 3
        assert trace.calls["munmap"] >= 3
        assert (faults(child.pid) - before).minor >= 3 * pages


def test_a_heap_that_grows_is_seen_as_brk() -> None:
    with stepper("kept.append([libc.malloc(100_000) for _ in range(10)])") as child:
        with Trace(child.pid) as trace:
            child.step()
        assert trace.calls["brk"] >= 1


def test_a_thread_that_is_started_is_seen() -> None:
    work = "import threading; t = threading.Thread(target=int); t.start(); t.join()"
    with stepper(work) as child:
        with Trace(child.pid) as trace:
            child.step()
        assert trace.calls["clone"] + trace.calls["clone3"] == 1


def test_a_process_that_only_waits_makes_no_memory_call_and_no_fault(
    count_file: CountFile,
) -> None:
    with idle(count_file.environment) as pid:
        eventually(lambda: count_file.read().looks >= 20, 30, "20 looks")
        start, before = count_file.read(), faults(pid)
        seen = syscalls(pid, lambda: (count_file.read() - start).looks >= 200, 30)
        assert dict(seen) == {}
        assert faults(pid) - before == Faults(minor=0, major=0)


def test_a_process_that_ends_while_it_is_traced_fails_the_audit() -> None:
    def trace_to_the_end(child: Stepper) -> None:
        with Trace(child.pid):
            child.end()

    with (
        stepper("pass") as child,
        pytest.raises(AssertionError, match="ended while it was traced"),
    ):
        trace_to_the_end(child)


def test_a_process_that_cannot_be_traced_fails_the_audit_and_says_why() -> None:
    with stepper("pass") as child:
        child.end()
        with pytest.raises(AssertionError, match="No such process"):
            syscalls(child.pid, lambda: True, 1)
