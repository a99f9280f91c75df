"""The shipped unit forbids no system call that memory-monitor makes, whatever it went through."""

import subprocess

import pytest
from kit import property_of, run
from shipped import Shipped, forbidden_calls

MAKES_A_FORBIDDEN_CALL = "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)"


@pytest.mark.last
def test_the_kernel_log_tells_of_a_forbidden_call_and_of_none_by_the_monitor() -> None:
    forbidden = Shipped(
        "forbidden",
        drop_in=f'[Service]\nExecStart=\nExecStart=/usr/bin/python3 -ISc "{MAKES_A_FORBIDDEN_CALL}"\n',
    )
    subprocess.run(("systemctl", "start", forbidden.unit), capture_output=True, check=False)
    assert property_of(forbidden.unit, "ExecMainStatus") == "31", "it was not ended by SIGSYS"
    run("systemctl", "stop", forbidden.unit)
    calls = forbidden_calls()
    assert [call for call in calls if 'comm="python3"' in call], "the log doesn't tell of it"
    assert not [call for call in calls if 'comm="memory-monitor"' in call]
