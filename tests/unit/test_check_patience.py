"""A read that never returns doesn't hold up the report."""

import errno
import threading
from collections.abc import Iterator

import pytest

from memmon_systemd.check import patience
from memmon_systemd.check.patience import Patience


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set after the test: no thread of it stays."""
    event = threading.Event()
    yield event
    event.set()


def test_what_is_read_or_raised_in_time_is_given() -> None:
    def fail() -> int:
        raise PermissionError(errno.EACCES, "no")

    assert Patience().read(lambda: 7) == 7
    with pytest.raises(PermissionError):
        Patience().read(fail)


def test_a_time_out_of_the_read_itself_is_its_own() -> None:
    def fail() -> int:
        raise TimeoutError(errno.ETIMEDOUT, "its own")

    with pytest.raises(TimeoutError, match="its own"):
        Patience().read(fail)


def test_a_read_that_never_returns_is_left_behind(release: threading.Event) -> None:
    with pytest.raises(TimeoutError, match="no answer within"):
        Patience().read(release.wait)


def test_many_of_them_together_take_no_longer_than_is_allowed(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each after the first ones is waited for as briefly as one that returns takes."""
    monkeypatch.setattr(patience, "_ALL_READS_S", 0.1)
    patient = Patience()
    waited: list[float] = []
    for _ in range(5):
        with pytest.raises(TimeoutError) as error:
            patient.read(release.wait)
        waited.append(float(str(error.value).split()[-2]))
    assert waited[0] == pytest.approx(0.1)
    assert waited[1:] == [pytest.approx(0.02)] * 4
    assert patient.read(lambda: 7) == 7
