"""`--check`: reads everything about a target, judges it, and prints a report. Nothing that runs imports it."""
