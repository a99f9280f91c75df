"""`memmonctl`: what is monitored, how near it is, what was asked of it; no monitor waits for it."""
