"""What every audit needs: Linux, and the counting library."""

import sys
from pathlib import Path

import pytest

from tests.audit.counting import build_library


@pytest.fixture(scope="session", autouse=True)
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the audit needs Linux: LD_PRELOAD, strace, /proc")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("count_calls"))
