"""Room below a limit for what the kernel charges to the monitor when it acts."""

from __future__ import annotations


class Room:
    """What `make` has to see to; this one is for systems where nothing is charged."""

    __slots__ = ()

    def make(self) -> None:
        """To be called before files are opened or messages are sent. Raises nothing, calls no allocator."""

    def rehearse(self) -> None:
        """Go all its ways once."""
