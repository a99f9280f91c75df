"""Which end of a service is followed by a start: the table of systemd.service(5), and what overrides it."""

import signal

import pytest

from memmon_systemd.systemd.restart_rules import (
    Disposition,
    Down,
    End,
    ExitSet,
    RestartRules,
    remedy,
    sentence,
    verdict,
)

CLEAN = (End(), End(signal.SIGTERM), End(signal.SIGHUP), End(signal.SIGINT), End(signal.SIGPIPE))
FAILED = (End(status=1), End(status=143))
KILLED = (End(signal.SIGKILL), End(signal.SIGUSR1), End(signal.SIGQUIT))


@pytest.mark.parametrize(
    ("restart", "followed"),
    [
        ("no", ()),
        ("always", (*CLEAN, *FAILED, *KILLED)),
        ("on-success", CLEAN),
        ("on-failure", (*FAILED, *KILLED)),
        ("on-abnormal", KILLED),
        ("on-abort", KILLED),
        ("on-watchdog", ()),
    ],
)
def test_restart_follows_the_ends_of_the_manual(restart: str, followed: tuple[End, ...]) -> None:
    rules = RestartRules(restart)
    assert {end for end in (*CLEAN, *FAILED, *KILLED) if rules.why_down(end) is None} == set(followed)


def test_a_success_exit_status_makes_an_end_clean() -> None:
    rules = RestartRules("on-failure", success=ExitSet((143,), (signal.SIGUSR1,)))
    assert rules.why_down(End(status=143)) is Down.NOT_THIS_END
    assert rules.why_down(End(signal.SIGUSR1)) is Down.NOT_THIS_END
    assert rules.why_down(End(status=1)) is None


def test_what_prevents_is_stronger_than_what_forces_and_that_than_restart() -> None:
    forced = RestartRules("no", force=ExitSet((0,)))
    assert forced.why_down(End()) is None
    assert forced.why_down(End(status=1)) is Down.NO_RESTART
    both = RestartRules("always", force=ExitSet((0,)), prevent=ExitSet((0,)))
    assert both.why_down(End()) is Down.PREVENTED


def test_a_unit_that_remains_active_isnt_started_after_a_clean_end() -> None:
    rules = RestartRules("always", remain_after_exit=True)
    assert rules.why_down(End(signal.SIGTERM)) is Down.REMAINS
    assert rules.why_down(End(status=1)) is None


def test_a_signal_that_is_ignored_ends_nothing() -> None:
    assert verdict(RestartRules("no"), signal.SIGTERM, Disposition.IGNORED) is None


def test_sigkill_is_never_handled() -> None:
    found = verdict(RestartRules("on-failure"), signal.SIGKILL, Disposition.UNKNOWN)
    assert found is None


@pytest.mark.parametrize(
    ("rules", "number", "said", "lines"),
    [
        (
            RestartRules("on-failure"),
            signal.SIGTERM,
            "Restart=on-failure: systemd treats an exit on SIGTERM or with status 0 as clean, so it would"
            " stay down",
            ("Restart=always",),
        ),
        (
            RestartRules("on-failure"),
            signal.SIGUSR1,
            "Restart=on-failure: systemd treats an exit with status 0 as clean, so it would stay down if"
            " SIGUSR1 makes it exit with status 0",
            ("Restart=always",),
        ),
        (
            RestartRules("on-success"),
            signal.SIGKILL,
            "Restart=on-success doesn't cover an exit on SIGKILL, so it would stay down",
            ("Restart=always",),
        ),
        (
            RestartRules(),
            signal.SIGTERM,
            "Restart=no: systemd doesn't restart it, so it would stay down",
            ("Restart=always",),
        ),
        (
            RestartRules("on-failure", prevent=ExitSet((0,))),
            signal.SIGTERM,
            "RestartPreventExitStatus= includes an exit with status 0: systemd doesn't restart it, so it"
            " would stay down",
            ("RestartPreventExitStatus=", "Restart=always"),
        ),
        (
            RestartRules("always", remain_after_exit=True),
            signal.SIGTERM,
            "RemainAfterExit=yes: systemd considers it active after it has exited, and doesn't restart it, so"
            " it would stay down",
            ("RemainAfterExit=no",),
        ),
    ],
)
def test_the_cause_is_said_and_the_lines_that_put_it_right(
    rules: RestartRules, number: int, said: str, lines: tuple[str, ...]
) -> None:
    found = verdict(rules, number, Disposition.HANDLED)
    assert found is not None
    assert sentence(rules, found, number) == said
    assert remedy(found, rules) == lines
