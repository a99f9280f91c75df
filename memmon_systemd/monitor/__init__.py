"""The loop, and what it decides by. Knows no systemd, no /proc and no argv."""
