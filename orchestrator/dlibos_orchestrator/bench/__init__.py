"""Benchmarks: the mesh beside a kernel server, interleaved in one run. Read `web` first."""
