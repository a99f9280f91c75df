"""Notices when a service or a process uses too much memory, and asks it to restart."""

__version__ = "0.1.0"

from memmon_systemd.imports import import_without

import_without({"inspect": {}}, "dataclasses")
import_without({"selectors": {}}, "socket")
