"""When the monitor looks, pings and acts: its clock goes forward where it waits."""

import select
import socket
from collections.abc import Callable

import pytest

from memmon_systemd.output.notify import Notifier
from tests.unit.trees import MIB, Tree, linux_only, use

pytestmark = linux_only
Start = Callable[..., Tree]


def test_for_ends_on_time_even_where_the_interval_is_longer(start: Start) -> None:
    tree = start("-m 100 -i 60 --for 5 app.service")
    tree.make("app.service", 101)
    begin_s = tree.clock.now_s
    tree.advance(15)
    assert [when_s - begin_s for when_s, _ in tree.manager.asked] == [5.0]


@pytest.mark.parametrize(
    ("arguments", "period_s"), [("--repeat 10", 10.0), ("", 20.0), ("--repeat 0.5", 0.5)]
)
def test_while_it_stays_above_the_signal_is_repeated(start: Start, arguments: str, period_s: float) -> None:
    tree = start(f"-m 100 -i 7 {arguments} app.service")
    tree.make("app.service", 101)
    begin_s = tree.clock.now_s
    tree.advance(3.5 * period_s)
    times_s = [when_s - begin_s for when_s, _ in tree.manager.asked]
    assert times_s == pytest.approx([0, period_s, 2 * period_s, 3 * period_s])
    assert len(tree.log.having("signalled")) == 4


@pytest.mark.parametrize("arguments", ["-m 100 -i 60", "-m 100 --growth 10G"])
def test_the_watchdog_hears_from_it_every_half_of_its_time(start: Start, arguments: str) -> None:
    pings_s: list[float] = []
    ours, managers = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, managers:
        tree = start(f"{arguments} app.service", notifier=Notifier(ours, 4.0, None))
        tree.make("app.service", 99)

        def listen(waited_s: float) -> None:
            while select.select([managers], [], [], 0)[0]:
                if managers.recv(4096) == b"WATCHDOG=1":
                    pings_s.append(tree.clock.now_s - waited_s)

        tree.poller.on_wait = listen
        begin_s = tree.clock.now_s
        tree.advance(9)
    assert [ping_s - begin_s for ping_s in pings_s] == pytest.approx([0, 2, 4, 6, 8])


@pytest.mark.parametrize("mib_per_s", [1, 7, 50])
def test_a_leak_of_up_to_the_growth_is_caught_within_what_it_takes_in_50_ms(
    start: Start, mib_per_s: int
) -> None:
    tree = start("-m 100 app.service")
    app = tree.make("app.service", 3.3)
    used_mib = 3.3

    def leak(waited_s: float) -> None:
        nonlocal used_mib
        if not tree.asked:
            used_mib += mib_per_s * waited_s
            use(app, int(used_mib * MIB))

    tree.poller.on_wait = leak
    tree.advance(100)
    assert len(tree.asked) > 0
    assert 100 < used_mib <= 100 + mib_per_s * 0.05 + 1e-6


def test_a_service_full_of_page_cache_isnt_looked_at_more_often(start: Start) -> None:
    tree = start("-m 100 app.service")
    use(tree.make("app.service", 0), 500 * MIB, active_file=500 * MIB)
    tree.advance(20)
    assert tree.poller.waits_s == [2.0] * 10


def test_units_that_are_nearly_due_are_looked_at_together(start: Start) -> None:
    tree = start("-m 100 *.service")
    for tenths in (800, 804, 808, 812):  # each with a wait of its own, from 0.4 s down to 0.376 s
        use(tree.make(f"of{tenths}.service", 0), tenths * MIB // 10)
    tree.advance(2)
    tree.poller.waits_s.clear()
    tree.advance(10)
    assert 10 / 0.4 <= len(tree.poller.waits_s) <= 1.1 * 10 / 0.376
