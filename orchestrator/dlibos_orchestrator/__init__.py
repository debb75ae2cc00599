"""Brings a mesh up, watches it, takes it down. Read `cli.main` first, then `runtime`."""

__version__ = "0.1.0"
