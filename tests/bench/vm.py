"""The bench's rows from the test machine: a real systemd, real cgroups, an emulated processor."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.subjects import compiled
from tests.bench.table import Row

IN_VM = "/srv/bench"


def rows(directory: Path) -> list[Row]:
    """Boots the machine, runs in_machine.py there; RuntimeError with what it said where that fails."""
    for source in ("wake.c", "leak.c"):
        compiled(source, directory, "-static")
    programs = [f"--add={directory / name}:{IN_VM}/{name}" for name in ("wake", "leak")]
    run = f"PYTHONPATH=/srv/memory-monitor:tests/vm python3 -m tests.bench.in_machine {IN_VM}"
    command = [sys.executable, "tests/vm/machine.py", "--processors=2", *programs, "--run", run]
    found: list[Row] = []
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as machine:
        assert machine.stdout is not None
        for line in machine.stdout:
            said.append(line)
            word, _, rest = line.partition(" ")
            if word == "row":
                found.append(Row(**json.loads(rest)))
                print(f"bench: in the machine: {found[-1].what}: {found[-1].value}", flush=True)
    if machine.returncode != 0:
        raise RuntimeError(f"the machine ended with {machine.returncode}:\n{''.join(said[-40:])}")
    return found
