"""`python -m memory_monitor_exporter`."""

import sys

from memory_monitor_exporter.command import main

sys.exit(main())
