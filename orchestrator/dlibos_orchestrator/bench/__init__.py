"""Benchmarks: the mesh beside a kernel server, interleaved in one run."""
