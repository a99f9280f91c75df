"""The monitor's own memory: reserved, touched and locked before READY=1."""
