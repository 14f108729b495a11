"""This machine: its files, locks, streams and signals, and what may be printed on it."""
