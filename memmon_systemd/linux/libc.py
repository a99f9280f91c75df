"""The calls of the C library of Linux that Python has no name for, by ctypes; OSError where one fails."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from typing import Final

# <sys/inotify.h>, inotify(7)
IN_MODIFY: Final = 0x2
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_Q_OVERFLOW: Final = 0x4000
IN_ONLYDIR: Final = 0x0100_0000

# <sys/mman.h>, mlockall(2), mmap(2); the module mmap would be another library.
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PROT_NONE, _MAP_PRIVATE, _MAP_ANONYMOUS = 0, 0x02, 0x20
_PROT_READ_WRITE, _MAP_SHARED, _MAP_POPULATE = 0x1 | 0x2, 0x01, 0x8000
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

# <linux/prctl.h>, prctl(2)
_PR_SET_THP_DISABLE: Final = 41

# <bits/mman-linux.h>, madvise(2)
_MADV_DONTNEED: Final = 4

# <malloc.h>, mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_LARGEST_INT: Final = 2**31 - 1


_STACK_BYTES: Final = 128 * 1024
_SMALLEST_STACK_BYTES: Final = 512 * 1024
"""With 256 KiB Python 3.11 has too little for the block as well."""


class _StackBlock(ctypes.Structure):
    _fields_ = (("room", ctypes.c_char * _STACK_BYTES),)


class Libc:
    """The functions, looked up once."""

    __slots__ = ("_library",)

    def __init__(self) -> None:
        """Open the C library that this process runs with."""
        self._library = ctypes.CDLL(None, use_errno=True)
        self._library.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self._library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._library.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
        self._library.mmap.restype = ctypes.c_void_p

    def inotify(self) -> int:
        """A new inotify descriptor, non-blocking."""
        return self._checked(self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def watch(self, inotify: int, path: str, mask: int) -> int:
        """Report what happens to a file or in a directory; the watch, which is one for the same file."""
        return self._checked(self._library.inotify_add_watch(inotify, os.fsencode(path), mask))

    def unwatch(self, inotify: int, watch: int) -> None:
        """Take a watch away; that the kernel has done so already, as of a removed plain file, is no error."""
        if self._library.inotify_rm_watch(inotify, watch) < 0 and ctypes.get_errno() != errno.EINVAL:
            self._checked(-1)

    def use_one_heap(self) -> None:
        """Have threads made from now on take memory from the heap there is, not from one of their own."""
        self._library.mallopt(_M_ARENA_MAX, 1)

    def keep_freed_memory(self) -> bool:
        """Make free() never give memory back, and large blocks come from the heap; whether that worked."""
        options = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _LARGEST_INT))
        refused = [option for option, value in options if self._library.mallopt(option, value) != 1]
        return not refused

    def refuse_huge_pages(self) -> bool:
        """Have the kernel make no huge page of ours, which costs page faults; whether that worked.

        Seen in an emulated machine: 1 to 4 minor faults in 10 s, with not one page more (PR_SET_THP_DISABLE,
        prctl(2)). A kernel without huge pages (EINVAL) has nothing to refuse.
        """
        refused = self._library.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
        return refused or ctypes.get_errno() == errno.EINVAL

    def touch_stack(self) -> None:
        """Use 128 KiB of the stack once: libffi copies an argument by value there. MemoryError."""
        # A stack that may not grow is answered with SIGSEGV. For RLIMIT_AS: a mapping is with an error.
        stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[0]
        if 0 <= stack_bytes < _SMALLEST_STACK_BYTES:
            raise MemoryError
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS
        room = self._library.mmap(None, 2 * _STACK_BYTES, _PROT_NONE, flags, -1, 0)
        if room == _MAP_FAILED:
            raise MemoryError
        self._checked(self._library.munmap(room, 2 * _STACK_BYTES))
        self._library.getpid(_StackBlock())

    def map_file(self, descriptor: int, size_bytes: int) -> memoryview:
        """A file as memory that can be written to, with all its pages there, until `unmap_file`."""
        flags = _MAP_SHARED | _MAP_POPULATE
        address = self._library.mmap(None, size_bytes, _PROT_READ_WRITE, flags, descriptor, 0)
        if address == _MAP_FAILED:
            self._checked(-1)
        return memoryview((ctypes.c_char * size_bytes).from_address(address)).cast("B")

    def unmap_file(self, view: memoryview) -> None:
        """Give back what `map_file` gave: nobody may use it, or a part of it, from now on."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(view))
        self._checked(self._library.munmap(address, len(view)))

    def lock_memory(self) -> None:
        """Lock what is touched now and what will be: nothing of it can be taken away any more."""
        self._checked(self._library.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT))

    def drop_range(self, start: int, size_bytes: int) -> None:
        """Let go of the pages of a range; what is in a file is read again when it is used (madvise(2))."""
        self._checked(self._library.madvise(start, size_bytes, _MADV_DONTNEED))

    def lock_range(self, start: int, size_bytes: int) -> None:
        """Touch and lock a range of addresses."""
        self._checked(self._library.mlock(start, size_bytes))

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
