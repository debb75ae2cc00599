"""A tile of the mesh: its memory, its links, its role. Read `agent` first, then `roles`."""

__version__ = "0.1.0"
