"""What is paused is measured and held, said, and asked once the pause is over."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from memmon_systemd.linux.libc import Libc
from memmon_systemd.output import pause_file
from memmon_systemd.pause_watch import PauseWatch
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only

TERM = "kill app.service main 15"


class Paused:
    """A monitor of app.service, and what is written beside its state file."""

    def __init__(self, tree: Tree, path: Path, libc: Libc | None, *, shares: bool = True) -> None:
        self.tree = tree
        self.path = path
        self.watch = PauseWatch(str(path), libc, tree.context, 2.0, tree.watch if shares else None)
        tree.monitor = tree.monitor_of([tree.units, self.watch])
        self.app = tree.make("app.service", 90)
        tree.advance(2)

    def write(self, **until_s: float) -> None:
        pauses = {name.replace("_", "."): time_s for name, time_s in until_s.items()}
        pause_file.write(str(self.path), pauses, "test")

    def said(self, words: str) -> int:
        return len(self.tree.log.having(words))


Start = Callable[..., Tree]


@pytest.fixture(params=["inotify", "inotify of its own", "without inotify"])
def paused(start: Start, tmp_path: Path, request: pytest.FixtureRequest) -> Paused:
    (tmp_path / "run").mkdir()
    libc = None if request.param == "without inotify" else Libc()
    shares = request.param == "inotify"
    return Paused(start("-m 100 app.service"), tmp_path / "run" / "a.pause", libc, shares=shares)


def test_a_paused_unit_is_held_and_asked_when_the_pause_ends_but_not_before_that_is_said(
    paused: Paused,
) -> None:
    tree = paused.tree
    until_s = tree.clock.now_s + 60
    paused.write(app_service=until_s)
    tree.advance(3)
    assert paused.said("app.service: paused until ")
    use(paused.app, 110 * MIB)
    tree.advance(50)
    assert paused.said("held: current 110 MiB is above 100 MiB: paused") == 0
    assert paused.said("is above 100 MiB: paused; asked once the pause has ended") == 1
    assert tree.asked == []
    tree.advance(until_s - tree.clock.now_s + 10)
    lines = [
        line for line in tree.log.lines if "the pause has ended: asked" in line or "sent SIGTERM" in line
    ]
    assert len(lines) == 2
    assert "asked at the next poll" in lines[0]
    ((asked_s, what),) = tree.manager.asked
    assert what == TERM
    assert until_s < asked_s <= until_s + 2 * 2.0


def test_a_pause_that_is_made_shorter_longer_or_is_taken_back_holds_as_it_is_now(paused: Paused) -> None:
    tree = paused.tree
    use(paused.app, 110 * MIB)
    paused.write(app_service=math.inf)
    tree.monitor.refresh_all()
    tree.advance(10)
    assert tree.asked == []
    assert paused.said("paused until it is resumed")
    end_s = tree.clock.now_s + 20
    paused.write(app_service=end_s)
    tree.advance(15)
    assert tree.asked == []
    paused.write(app_service=end_s + 100)
    tree.advance(50)
    assert tree.asked == []
    paused.write()
    tree.advance(8)
    assert tree.asked == [TERM]
    assert paused.said(": resumed: asked at the next poll") == 1


def test_a_unit_within_its_threshold_is_only_said_to_be_resumed(paused: Paused) -> None:
    paused.write(app_service=math.inf)
    paused.tree.advance(5)
    paused.write()
    paused.tree.advance(5)
    assert paused.said("app.service: resumed: asked again when above its threshold") == 1
    assert paused.tree.asked == []


def test_a_unit_that_was_asked_is_not_asked_again_while_it_is_paused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    tree = start("-m 100 --repeat 5 --then-restart 30 app.service")
    paused = Paused(tree, tmp_path / "run" / "a.pause", Libc())
    use(paused.app, 110 * MIB)
    tree.advance(3)
    assert tree.asked == [TERM]
    paused.write(app_service=math.inf)
    tree.advance(100)
    assert tree.asked == [TERM]
    paused.write()
    tree.advance(5)
    assert len(tree.asked) == 2


def test_above_the_hard_threshold_it_is_held_too(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    tree = start("-m 100 --hard 105 app.service")
    paused = Paused(tree, tmp_path / "run" / "a.pause", Libc())
    paused.write(app_service=math.inf)
    tree.advance(3)
    use(paused.app, 110 * MIB)
    tree.advance(20)
    assert tree.asked == []


@pytest.mark.parametrize("glob", ["*", "app*", "a??.service"])
def test_a_glob_pauses_all_that_it_matches(start: Start, tmp_path: Path, glob: str) -> None:
    (tmp_path / "run").mkdir()
    tree = start("-m 100 app.service other.service")
    paused = Paused(tree, tmp_path / "run" / "a.pause", Libc())
    other = tree.make("other.service", 90)
    pause_file.write(str(paused.path), {glob: math.inf}, "test")
    tree.advance(3)
    use(paused.app, 110 * MIB)
    use(other, 110 * MIB)
    tree.advance(10)
    assert TERM not in tree.asked
    assert bool(tree.asked) is (glob != "*")


def test_a_file_that_is_no_list_of_pauses_is_said_once_and_pauses_nothing(paused: Paused) -> None:
    paused.path.write_text("soon app.service\n")
    use(paused.app, 110 * MIB)
    paused.tree.advance(10)
    assert paused.said("warning: ") == 1
    assert paused.said("line 1 isn't a time and a name") == 1
    assert paused.tree.asked == [TERM]


def test_other_files_in_the_directory_change_nothing(paused: Paused) -> None:
    (paused.path.parent / "other").write_text("x")
    os.rename(paused.path.parent / "other", paused.path.parent / "another")
    paused.tree.advance(5)
    assert not paused.said("paused")


@pytest.mark.parametrize("text", ["nan x\n", "-1 x\n", "5\n", "5 \n", "x y\n"])
def test_a_line_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line 1 "):
        pause_file.parse(text)


def test_root_writes_to_no_file_that_another_user_has_put_there(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    os.link(precious, tmp_path / "a.pause.1")
    pause_file.write(str(tmp_path / "a.pause"), {"x": 5.0}, "1")
    assert precious.read_text() == "kept"
    assert pause_file.read(str(tmp_path / "a.pause")) == {"x": 5.0}


def test_names_of_any_letters_come_through(tmp_path: Path) -> None:
    path = tmp_path / "a.pause"
    wanted = {"a b[12]": 5.0, "dir\\x2dname.service": math.inf, os.fsdecode(b"\xff"): 7.25}
    pause_file.write(str(path), wanted, "1")
    assert pause_file.read(str(path)) == wanted
    pause_file.write(str(path), {}, "1")
    assert not path.exists()
    assert pause_file.read(str(path)) == {}
