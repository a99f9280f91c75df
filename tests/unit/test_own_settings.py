"""`systemctl reload memory-monitor@app`: its settings are read again, and it goes on where it was."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd.monitor.policy import State
from memmon_systemd.own_settings import OwnSettings
from memmon_systemd.systemd.command import Command
from memmon_systemd.systemd.errors import BusError
from tests.unit.trees import Signal, Tree, linux_only

pytestmark = linux_only
OWN = "memory-monitor@app.service"
WORDS = "/usr/bin/memory-monitor --until-stopped -m ${MAX_MEMORY} -i ${INTERVAL} $OPTIONS -- app.service"
AS_SHIPPED = {"MAX_MEMORY": "300", "INTERVAL": "2", "OPTIONS": ""}
KEPT = "; the settings of before stay in force"
TERM = "kill app.service main 15"


class Template:
    """A monitor as memory-monitor@app.service starts it, of a unit that uses 200 MiB."""

    def __init__(self, tree: Tree, file: Path) -> None:
        self.tree, self.file = tree, file
        self.app = tree.make("app.service", 200)
        tree.manager.commands[OWN] = Command(WORDS.split(), AS_SHIPPED, [(str(file), True)])
        report = tree.context.report
        self.own = OwnSettings(tree.settings, tree.manager, OWN, tree.units, report)
        tree.monitor = tree.monitor_of([self.own, tree.units])
        tree.advance(5)

    def reload(self, *lines: str) -> list[str]:
        """What it says when it reads these lines in its file."""
        self.file.write_text("".join(f"{line}\n" for line in lines))
        return self.reload_as_it_is()

    def reload_as_it_is(self) -> list[str]:
        before = len(self.tree.log.lines)
        self.own.reload()
        self.tree.poller.events.append(Signal())
        self.tree.advance(4)
        return self.tree.log.lines[before:]


@pytest.fixture
def template(start: Callable[..., Tree], tmp_path: Path) -> Template:
    return Template(start("--until-stopped -m 300 -i 2 -- app.service"), tmp_path / "app.conf")


def test_the_file_is_read_and_what_has_changed_is_one_line(template: Template) -> None:
    lines = template.reload("MAX_MEMORY=250", "INTERVAL=1", "OPTIONS=--for 10s --swap")
    assert lines == [
        "app.service: settings changed: --max-memory=250MiB (was 300MiB), --interval=1s (was 2s),"
        " --swap=yes (was no), --for=10s (was 0s)"
    ]
    assert template.tree.asked == []


def test_a_lower_threshold_holds_at_once_and_again_after_a_restart(template: Template) -> None:
    template.reload("MAX_MEMORY=100")
    assert template.tree.asked == [TERM]
    shutil.rmtree(template.app)
    template.tree.advance(2)
    template.tree.make("app.service", 150)
    template.tree.manager.start_again("app.service")
    template.tree.advance(5)
    assert template.tree.asked == [TERM, TERM]


def test_what_it_was_asked_counts_on(template: Template) -> None:
    template.reload("MAX_MEMORY=100", "OPTIONS=--repeat infinity")
    template.reload("MAX_MEMORY=90", "OPTIONS=--repeat infinity --budget 3/1h")
    template.tree.advance(600)
    assert template.tree.asked == [TERM]
    target = template.tree.target("app.service")
    assert target.state is State.SIGNALLED
    assert target.allowance(template.tree.clock.now_s).made == 1


def test_what_is_left_out_is_as_the_unit_has_it(template: Template) -> None:
    template.reload("MAX_MEMORY=250")
    template.file.unlink()
    lines = template.reload_as_it_is()
    assert lines == ["app.service: settings changed: --max-memory=300MiB (was 250MiB)"]


def test_where_nothing_has_changed_that_is_said(template: Template) -> None:
    assert template.reload("# nothing") == ["app.service: settings read again: none has changed"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["MAX_MEMORY=5 apples"], "{file}:1: MAX_MEMORY=: '5 apples' is not a size: use MiB"),
        (["", "OPTIONS=--metric all"], "{file}:2: OPTIONS=: --metric: 'all' is not one of"),
        (["OPTIONS=--for"], "{file}:1: OPTIONS=: --for: expected one argument"),
        (["OPTIONS=--metric rss"], "{file}:1: OPTIONS=: --metric rss: 'app.service' means units"),
        (["OPTIONS='\"--for 10s'"], "{file}:1: No closing quotation"),
        (["OPTIONS=-v"], f"only the settings of units can change while it runs: restart {OWN}"),
        (["OPTIONS=other.service"], f"only the settings of units can change while it runs: restart {OWN}"),
        (["OPTIONS=--help"], "{file}:1: OPTIONS=: unrecognized arguments: --help"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_settings_of_before_stay(
    template: Template, lines: list[str], said: str
) -> None:
    (line,) = template.reload(*lines)
    assert line.startswith(f"error: {OWN}: {said.format(file=template.file)}")
    assert line.endswith(KEPT)
    template.tree.advance(60)
    assert template.tree.asked == []
    assert template.reload("MAX_MEMORY=100")[0].startswith(
        "app.service: settings changed: --max-memory=100MiB"
    )


def test_a_line_without_effect_is_said_and_the_others_hold(template: Template) -> None:
    wrong, changed = template.reload("MAXMEMORY=80", "INTERVAL=1")
    what = "there is no setting MAXMEMORY=: it has no effect: use MAX_MEMORY=80"
    assert wrong == f"error: {OWN}: {template.file}:1: {what}"
    assert changed == "app.service: settings changed: --interval=1s (was 2s)"


def test_a_file_that_cant_be_read_is_said(template: Template) -> None:
    template.file.mkdir()
    (line,) = template.reload_as_it_is()
    assert line == f"error: {OWN}: {template.file}: is not read: it is no regular file{KEPT}"


def test_where_systemd_doesnt_answer_that_is_said_and_the_next_time_it_is_read(template: Template) -> None:
    template.tree.manager.failure = BusError(errno.ETIMEDOUT, "no answer within 1 s", was_called=True)
    (line,) = template.reload("MAX_MEMORY=100")
    assert line == f"error: {OWN}: systemd can't be asked: no answer within 1 s{KEPT}"
    template.tree.manager.failure = None
    template.reload_as_it_is()
    assert template.tree.asked == [TERM]
