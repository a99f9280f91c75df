"""Units as targets: found, measured, signalled."""
