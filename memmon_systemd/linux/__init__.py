"""What the kernel tells: cgroup files, /proc, and calls of the C library that Python has no name for."""
