"""memory-monitor, to which a directory is the hierarchy of cgroups; all else of it is the real one.

python -m tests.bench.units_in DIRECTORY ARGUMENTS...
"""

import sys

from memmon_systemd import cli
from memmon_systemd.linux import cgroup


def main() -> int:
    """memory-monitor's exit status."""
    hierarchy = cgroup.Hierarchy(sys.argv.pop(1), memory=True)
    cgroup.find_hierarchy = lambda *_: hierarchy
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
