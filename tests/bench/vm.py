"""The bench's rows from the test machine: a real systemd, real cgroups, an emulated processor."""

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.subjects import compiled
from tests.bench.table import Row

IN_VM = "/srv/bench"


def rows(directory: Path) -> list[Row]:
    """Those of in_machine.py."""
    for source in ("wake.c", "leak.c"):
        compiled(source, directory, "-static")
    programs = [f"--add={directory / name}:{IN_VM}/{name}" for name in ("wake", "leak")]
    return _run(f"tests.bench.in_machine {IN_VM}", *programs)


def scale_rows() -> list[Row]:
    """Those of scale.py."""
    return _run("tests.bench.scale", "--memory=3072")


def _run(module: str, *options: str) -> list[Row]:
    """Boots the machine and runs a module there; RuntimeError with what it said where that fails."""
    run = f"PYTHONPATH=/srv/memory-monitor:tests/vm python3 -m {module}"
    command = [sys.executable, "tests/vm/machine.py", "--processors=2", *options, "--run", run]
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
