"""Arguments that a running monitor reads: as argparse reads them at its start."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memmon_systemd.arguments import parse
from memmon_systemd.argv import settings_of_words
from memmon_systemd.errors import UsageError
from memmon_systemd.options import OPTIONS
from memmon_systemd.settings import Settings

VALUES = (
    "500",
    "1.5G",
    "80%",
    "90%",
    "2s",
    "500ms",
    "infinity",
    "3/1h",
    "auto",
    "USR1",
    "anon",
    "rss",
    "main",
)
OTHERS = ("unit", "apples", "0", "4", "x.service")
TAKING = [flag for option in OPTIONS if option.metavar for flag in option.flags]
SWITCHES = [flag for option in OPTIONS if not option.metavar for flag in option.flags]
SHORT = "".join(flag[1] for flag in SWITCHES if len(flag) == 2)

value = st.sampled_from((*VALUES, *OTHERS))
switch = st.sampled_from([*SWITCHES, "-x", "--nonsense", "-q=1", "--swap=yes"]).map(lambda flag: [flag])
cluster = st.text(SHORT, min_size=1, max_size=3).map(lambda letters: [f"-{letters}"])
apart = st.tuples(st.sampled_from(TAKING), value).map(list)
by_equals = st.tuples(st.sampled_from(TAKING), value).map(lambda both: ["=".join(both)])
at_once = st.tuples(st.sampled_from([flag for flag in TAKING if len(flag) == 2]), value).map(
    lambda both: ["".join(both)]
)
options = st.lists(st.one_of(switch, cluster, apart, by_equals, at_once), max_size=6)
names = st.lists(st.sampled_from(("x.service", "worker@*.service", "app")), max_size=2)


def outcome(read: Callable[[list[str]], Settings], words: list[str]) -> Settings | None:
    """The settings; None where something is wrong, of which argparse may find another one first."""
    try:
        return read(words)
    except UsageError:
        return None


@given(options, st.booleans(), names)
@example([["-m", "5"], ["-nv"]], False, ["x"])
@example([["-m5"], ["-i=2"]], True, ["-x"])
@example([["-m"]], True, ["x"])
@example([["-m", "-n"]], True, ["x"])
@example([["-m", "500"], ["--for"]], False, [])
def test_they_mean_what_they_mean_at_the_start(
    groups: list[list[str]], with_dashes: bool, wanted: list[str]
) -> None:
    words = [word for group in groups for word in group] + ["--"] * with_dashes + wanted
    assert outcome(settings_of_words, words) == outcome(parse, words)


@pytest.mark.parametrize("word", ["--help", "-h", "--version"])
def test_who_asks_for_help_asks_for_no_settings(word: str) -> None:
    with pytest.raises(UsageError, match=f"unrecognized arguments: {word}"):
        settings_of_words(["-m", "5", word, "x"])
