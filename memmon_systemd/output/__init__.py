"""Where lines go: journal, stderr, and the service manager."""
