"""Celery tasks: one that leaks, and one that ends when a file is there."""

import time
from pathlib import Path

from celery import Celery

app = Celery("jobs", broker="redis://localhost/0")
app.conf.broker_connection_retry_on_startup = True

kept: list[bytes] = []


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def leak(mib: int) -> None:
    """Keeps so much memory."""
    kept.append(b"x" * (mib << 20))


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def slow(go: str, how_far: str) -> None:
    """Ends when the file `go` is there; the other file says how far it is."""
    Path(how_far).write_text("begun")
    while not Path(go).exists():
        time.sleep(0.1)
    Path(how_far).write_text("finished")
