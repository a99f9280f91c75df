"""Tells Prometheus what memory-monitor monitors: what memmonctl reads, over HTTP."""
