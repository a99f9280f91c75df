"""The command as a system without Linux' calls would run it: by psutil, on this machine."""

import os
import signal
import sys

import psutil  # Before the system is renamed: it has a part in C for each.

assert psutil.LINUX
sys.platform = "darwin"
del os.pidfd_open, os.pipe2, signal.pidfd_send_signal

from memmon_systemd.cli import main  # noqa: E402 - reads the system's name

sys.exit(main())
