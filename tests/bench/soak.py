"""A day in the life of one monitor of 50 services, at random: what was asked, missed, or asked wrongly.

    tests/vm/machine.py --suite bookworm --skip-idle --memory 3072 --deadline 90000 \
        --run "PYTHONPATH=/srv/memory-monitor:tests/vm python3 -m tests.bench.soak [HOURS [SEED]]"

Services leak, come near, are restarted, stopped, killed; settings change, the journal and D-Bus are
restarted. Each service writes down every signal that it gets, so that one too many or too few is seen.
"""

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import kit
from services import LEAKY

from tests.bench.soaked import Sample, Soaked
from tests.bench.table import Row, held_against, say_rows

SERVICES: Final = 50
MEAN_PAUSE_S: Final = 30.0
IN_TIME_S: Final = 60.0
SAMPLED_EVERY_S: Final = 600.0
AT_MOST: Final = 5
"""Services that leak at the same time."""
MONITOR: Final = "memory-monitor.service"
THRESHOLDS_MIB: Final = (30, 31, 32, 33)
MOST_GROWTH_KIB: Final = 64
MOST_CPU_PERCENT: Final = 1.0


class Soak:
    """The services, the monitor, and the counts."""

    def __init__(self, chance: random.Random) -> None:
        """Start all of them."""
        self.chance = chance
        self.counts: Counter[str] = Counter()
        self.faulty: list[str] = []
        self._write_template()
        self.services = [Soaked(number) for number in range(SERVICES)]
        kit.run("systemctl", "start", *(one.unit for one in self.services))
        for one in self.services:
            one.wait_for("started")
        kit.run("systemctl", "start", MONITOR)
        self.pid = int(kit.property_of(MONITOR, "MainPID"))

    def _write_template(self) -> None:
        threshold_mib = self.chance.choice(THRESHOLDS_MIB)
        kit.write_unit(
            "soak@.service",
            f"[Unit]\nStartLimitIntervalSec=0\n[X-MemoryMonitor]\nThreshold={threshold_mib}M\n"
            f"[Service]\nExecStart={' '.join(LEAKY)} {kit.WORK}/soak-%i\nRestart=always\nRestartSec=100ms\n",
        )
        kit.run("systemctl", "daemon-reload")

    def step(self) -> None:
        """One of the things that happen, at random."""
        deeds: dict[Callable[[], None], int] = {
            self.leak: 40,
            self.come_near: 20,
            self.restart: 12,
            self.stop_for_a_while: 10,
            self.kill: 8,
            self.change_settings: 5,
            self.reload: 2,
            self.restart_journal: 2,
            self.restart_bus: 1,
        }
        (deed,) = self.chance.choices(list(deeds), list(deeds.values()))
        deed()
        self.counts[deed.__name__.replace("_", " ")] += 1

    def leak(self) -> None:
        """One or several at the same time."""
        several = self.chance.sample(self.services, self.chance.choice((1, 1, 1, AT_MOST)))
        started = {one: one.grow_above() for one in several}
        self.counts["above the threshold"] += len(several)
        for one, count in started.items():
            self.expect(partial(one.is_back, count), f"{one.unit} wasn't asked in time")

    def come_near(self) -> None:
        """Below the threshold, and back."""
        one = self.one()
        one.tell("grow 15")
        time.sleep(self.chance.uniform(0, 20))
        one.tell("free")

    def restart(self) -> None:
        """As an administrator does."""
        one = self.one()
        started = one.said.count("started")
        one.expected += 1
        kit.run("systemctl", self.chance.choice(("restart", "try-restart", "reload-or-restart")), one.unit)
        self.expect(partial(one.is_back, started), f"{one.unit} wasn't restarted")

    def stop_for_a_while(self) -> None:
        """And start it again."""
        one = self.one()
        started = one.said.count("started")
        one.expected += 1
        kit.run("systemctl", "stop", one.unit)
        time.sleep(self.chance.uniform(0, 30))
        kit.run("systemctl", "start", one.unit)
        self.expect(partial(one.is_back, started), f"{one.unit} wasn't started")

    def kill(self) -> None:
        """It crashes."""
        one = self.one()
        started = one.said.count("started")
        kit.run("systemctl", "kill", f"--signal={signal.SIGKILL.name}", one.unit)
        self.expect(partial(one.is_back, started), f"{one.unit} wasn't started")

    def change_settings(self) -> None:
        """Another threshold for all of them."""
        self._write_template()

    def reload(self) -> None:
        """The monitor reads its settings again."""
        kit.run("systemctl", "reload", MONITOR)

    def restart_journal(self) -> None:
        """Where the monitor's lines go."""
        kit.run("systemctl", "restart", "systemd-journald.service")

    def restart_bus(self) -> None:
        """Where others talk to systemd."""
        kit.run("systemctl", "restart", "dbus.service")

    def one(self) -> Soaked:
        return self.chance.choice(self.services)

    def expect(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Counts what doesn't come true in time."""
        try:
            kit.eventually(condition, otherwise, IN_TIME_S)
        except AssertionError:
            self.say_fault(otherwise)

    def compare(self) -> None:
        """The signals that came with those that were due."""
        for one in self.services:
            came = one.said.count("SIGTERM")
            if came != one.expected:
                self.say_fault(f"{one.unit} got {came} SIGTERM, not {one.expected}")
                one.expected = came

    def say_fault(self, text: str) -> None:
        print(f"soak: {time.monotonic():.0f} s: {text}", flush=True)
        self.faulty.append(text)


def soak(hours: float, seed: int) -> list[Row]:
    """That long, by the machine's clock; the rows of the report."""
    soak = Soak(random.Random(seed))
    begun_s = time.monotonic()
    samples = [Sample.of(soak.pid)]
    next_s = begun_s + SAMPLED_EVERY_S
    while time.monotonic() < begun_s + hours * 3600:
        time.sleep(soak.chance.expovariate(1 / MEAN_PAUSE_S))
        soak.step()
        if time.monotonic() > next_s:
            soak.compare()
            samples.append(Sample.of(soak.pid))
            if samples[-1].faults != samples[-2].faults:
                say_journal(next_s - SAMPLED_EVERY_S)
            next_s += SAMPLED_EVERY_S
            if len(samples) % 6 == 1:
                print(f"soak: {len(samples) // 6} h: {dict(soak.counts)}, {samples[-1]}", flush=True)
    time.sleep(IN_TIME_S)
    soak.compare()
    samples.append(Sample.of(soak.pid))
    return report(soak, samples, hours)


def say_journal(since_s: float) -> None:
    """What the monitor has logged since then: what it did when it had a page fault."""
    for entry in kit.journal(f"--unit={MONITOR}", f"--since=-{time.monotonic() - since_s:.0f}s"):
        print(f"soak: {entry['MESSAGE']}", flush=True)


def report(soak: Soak, samples: Sequence[Sample], hours: float) -> list[Row]:
    """What happened, and what the monitor held meanwhile."""
    first, last = samples[0], samples[-1]
    restarts = int(kit.property_of(MONITOR, "NRestarts"))
    same = int(kit.property_of(MONITOR, "MainPID")) == soak.pid
    said = Counter(str(entry["PRIORITY"]) for entry in kit.journal(f"--unit={MONITOR}", "--lines=all"))
    done = ", ".join(f"{what} {count}" for what, count in sorted(soak.counts.items()))
    how = f"{hours:g} h of the machine's clock, {SERVICES} services"
    rss = f"{first.rss_kib:,} to {last.rss_kib:,} kB, at most {max(s.rss_kib for s in samples):,}"
    grown_kib = last.rss_kib - first.rss_kib
    cpu_percent = (last.cpu_s - first.cpu_s) / (hours * 36)
    return [
        Row("what happened", done, how),
        held_against("not asked, or asked wrongly", f"{len(soak.faulty)}", how, len(soak.faulty), 0, "none"),
        held_against("RSS", rss, f"{len(samples)} samples", grown_kib, MOST_GROWTH_KIB, "flat"),
        _flat("descriptors", [s.descriptors for s in samples]),
        _flat("inotify watches", [s.watches for s in samples]),
        _flat("page faults", [s.faults for s in samples]),
        held_against("CPU time", f"{cpu_percent:.2f}%", how, cpu_percent, MOST_CPU_PERCENT, "at most 1%"),
        held_against("restarts of the monitor", f"{restarts}", how, restarts + (not same), 0, "none"),
        Row("lines by priority", ", ".join(f"{k}: {n}" for k, n in sorted(said.items())), "journal"),
    ]


def _flat(what: str, values: Sequence[int]) -> Row:
    text = f"{values[0]} to {values[-1]}, {min(values)} to {max(values)}"
    return held_against(what, text, f"{len(values)} samples", values[-1], values[0], "flat")


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    rows = soak(given[0] if given else 24.0, int(given[1]) if len(given) > 1 else 1)
    say_rows(rows)
    sys.exit(any(row.met is False for row in rows))
