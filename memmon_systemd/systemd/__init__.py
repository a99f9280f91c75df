"""The service manager, over D-Bus."""
