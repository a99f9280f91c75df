"""A WSGI application that leaks 32 MiB with each request to /; /slow?FILE answers when the file is there."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

kept: list[bytes] = []


def app(environ: dict[str, str], start_response: Callable[..., object]) -> Iterator[bytes]:
    """Answers any request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/slow":
        yield b"begun\n"
        while not Path(environ["QUERY_STRING"]).exists():
            time.sleep(0.1)
        yield b"finished\n"
    else:
        kept.append(b"x" * (32 << 20))
        yield b"hello\n"
