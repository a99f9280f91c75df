"""`--at-most` with 300 units above their thresholds: who is next, and what waiting costs."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only
Start = Callable[[str], Tree]
COUNT: Final = 300
MOST: Final = 4


def name_of(number: int) -> str:
    return f"worker@{number}.service"


def number_of(asked: str) -> int:
    return int(asked.partition("@")[2].partition(".")[0])


def queue(start: Start) -> tuple[Tree, dict[int, Path]]:
    """The monitor of 300 units, each nearer than the one before by a MiB, at its start."""
    tree = start(f"-m 100 --at-most {MOST} --repeat infinity worker@*.service")
    return tree, {number: tree.make(name_of(number), 101 + number) for number in range(COUNT)}


def come_back(tree: Tree, directory: Path) -> None:
    """End the invocation of a unit, and begin another that is far from its threshold."""
    shutil.rmtree(directory)
    tree.advance(0.1)
    tree.manager.start_again(directory.name)
    tree.make(directory.name, 10)


def test_of_those_that_are_above_at_the_start_the_nearest_are_asked_first(start: Start) -> None:
    tree, _ = queue(start)
    tree.advance(0.1)
    assert sorted(map(number_of, tree.asked)) == [296, 297, 298, 299]


def test_a_free_slot_is_for_the_one_that_is_nearest_at_that_moment(start: Start) -> None:
    tree, directories = queue(start)
    tree.advance(5)
    use(directories[7], 900 * MIB)
    tree.advance(5)
    come_back(tree, directories[298])
    tree.advance(10)
    come_back(tree, directories[7])
    tree.advance(10)
    assert [number_of(asked) for asked in tree.asked[MOST:]] == [7, 295]


def test_who_waits_for_a_slot_costs_systemd_no_question(start: Start) -> None:
    tree, _ = queue(start)
    tree.advance(10)
    questions, asked = tree.manager.questions, len(tree.asked)
    tree.advance(600)
    assert len(tree.asked) == asked == MOST
    # Each of the four that were asked, for whether it is another invocation: twice a minute.
    assert tree.manager.questions - questions <= MOST * 25


def test_the_nearest_takes_a_slot_and_holds_up_nobody_while_it_reloads(start: Start) -> None:
    tree, _ = queue(start)
    reloads = replace(tree.manager.usual, active_state="reloading", sub_state="reload")
    tree.manager.states[name_of(COUNT - 1)] = reloads
    tree.advance(10)
    assert sorted(map(number_of, tree.asked)) == [296, 297, 298]
