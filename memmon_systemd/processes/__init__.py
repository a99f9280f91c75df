"""Processes as targets, by /proc on Linux and by psutil elsewhere."""
