"""`python3 -m memmon_systemd` is the command `memory-monitor`."""

import sys

from memmon_systemd.cli import main

sys.exit(main())
