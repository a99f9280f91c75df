"""`--check`: reads all about a target, judges it, and prints a report. Nothing that runs imports it."""
