"""The numbers in a cgroup's memory files, and the metrics made of them (the kernel's cgroup-v2.rst)."""

from __future__ import annotations

from typing import Final

from memmon_systemd.settings import Metric

RECLAIMABLE: Final[dict[Metric, tuple[bytes, ...]]] = {
    Metric.CURRENT: (),
    Metric.WORKING_SET: (b"inactive_file",),
    Metric.UNRECLAIMABLE: (b"inactive_file", b"active_file", b"slab_reclaimable"),
}
"""What a metric leaves out of memory.current: the kernel can drop it, so it gets no service killed."""


def metric_bytes(metric: Metric, current_bytes: int, stat: bytearray, end: int) -> int:
    """A metric by memory.current and memory.stat: `stat` up to `end`, see `stat_bytes`; ValueError."""
    if end <= 1:
        raise ValueError("memory.stat is empty")
    if metric is Metric.ANON:
        return stat_bytes(stat, end, b"anon")
    left_out_bytes = 0
    for key in RECLAIMABLE[metric]:
        left_out_bytes += stat_bytes(stat, end, key)
    return max(current_bytes - left_out_bytes, 0)


def stat_bytes(stat: bytearray, end: int, key: bytes) -> int:
    """The number behind `key` in memory.stat, in bytes; ValueError where it isn't there whole.

    Taken for 0, a part of page cache that wasn't read would get a service restarted. `stat` holds the file up
    to `end`, behind a newline of its own, so that the first key is found like the others; what is behind
    `end` is another unit's.
    """
    begin = stat.find(b"\n" + key + b" ", 0, end)
    if begin < 0:
        raise ValueError(f"memory.stat has no {key.decode()}")
    begin += len(key) + 2
    return line_number(stat[begin : stat.find(b"\n", begin, end) + 1], f"{key.decode()} of memory.stat")


def line_number(line: bytes | bytearray, name: str) -> int:
    """The number that a whole line is; ValueError for any other: int() takes "-5" and "1_0", too."""
    digits, end, rest = line.partition(b"\n")
    if not digits.isdigit() or not end or rest:
        raise ValueError(f"{name} holds no number")
    return int(digits)
