"""A client of the recipes' web services, on port 8000."""

import http.client
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from kit import eventually
from recipes.service import DEADLINE_S

ADDRESS = ("127.0.0.1", 8000)
NO_ANSWER = (OSError, http.client.HTTPException)


def connect() -> http.client.HTTPConnection:
    """A connection for one request."""
    return http.client.HTTPConnection(*ADDRESS, timeout=DEADLINE_S)


def get(path: str) -> str:
    """The body of the answer; one of NO_ANSWER if there is none."""
    connection = connect()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()
    finally:
        connection.close()


def answers() -> bool:
    """Whether the service answers."""
    try:
        return get("/slow?/dev/null") == "begun\nfinished\n"
    except NO_ANSWER:
        return False


class InFlight:
    """A request whose answer has begun, and ends when it is allowed to."""

    def __init__(self) -> None:
        """Returns when the first line of the answer is there."""
        self._go = Path(tempfile.mkdtemp(), "go")
        self._go.parent.chmod(0o755)
        self._connection = connect()
        self._connection.request("GET", f"/slow?{self._go}")
        self._answer = self._connection.getresponse()
        assert self._answer.readline() == b"begun\n"
        self._rest = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            self._rest = self._answer.read()
        except NO_ANSWER as error:
            self._rest = repr(error).encode()

    def is_pending(self) -> bool:
        """Whether neither its end nor an error has come."""
        return self._reader.is_alive()

    def finish(self) -> str:
        """Lets the answer end; what came after its first line, or the error that came instead."""
        self._go.touch()
        self._reader.join(DEADLINE_S)
        self._connection.close()
        return self._rest.decode()


def leak_until(done: Callable[[], bool]) -> list[str]:
    """Asks for the page that leaks, again and again; the errors that came instead of answers."""
    errors: list[str] = []

    def asked() -> bool:
        try:
            get("/")
        except NO_ANSWER as error:
            errors.append(repr(error))
        return done()

    eventually(asked, "it is asked to restart", DEADLINE_S)
    return errors
