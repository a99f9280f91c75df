"""The bench's table: a row for each number, and the bars that some are held against."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    value: str
    how: str
    """Where and how it was got."""
    bar: str = ""
    met: bool | None = None

    def line(self) -> str:
        verdict = {None: "", True: f"{self.bar}: met", False: f"{self.bar}: **missed**"}[self.met]
        return f"| {self.what} | {self.value} | {verdict} | {self.how} |"


def held_against(what: str, value: str, how: str, number: float, most: float, bar: str) -> Row:
    """A row with a bar: met where `number` is at most `most`."""
    return Row(what, value, how, bar, number <= most)


def say_rows(rows: Iterable[Row]) -> None:
    """Each as soon as it is known, as vm.py reads it."""
    for row in rows:
        print("row", json.dumps(dataclasses.asdict(row)), flush=True)


def print_section(title: str, rows: list[Row]) -> None:
    print(f"\n### {title}\n\n| what | measured | bar | how |\n|---|---|---|---|", flush=True)
    for row in rows:
        print(row.line(), flush=True)


def print_summary(rows: list[Row]) -> None:
    """Each bar in one line, the missed ones last."""
    barred = sorted((row for row in rows if row.met is not None), key=lambda row: not row.met)
    print("\n### Bars\n")
    for row in barred:
        print(f"- {'met' if row.met else 'MISSED'}: {row.what}: {row.value}; bar: {row.bar}")
    print(f"\n{sum(bool(row.met) for row in barred)} of {len(barred)} bars met", flush=True)
