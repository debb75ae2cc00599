"""What every test run says first: which core it runs, and that it is not an old one."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest

# A run in the background of a shell inherits an ignored SIGINT, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _core() -> Path:
    spec = importlib.util.find_spec("dlibos_node.tcp.connection")
    if spec is None or spec.origin is None:
        pytest.exit("dlibos is not installed: make test", returncode=2)
    return Path(spec.origin)


def pytest_report_header() -> str:
    """Name the core; refuse to test a compiled one that is older than its source."""
    core = _core()
    if core.suffix != ".so":
        return "dlibos core: pure Python"
    modules = {so: so.with_name(so.name.partition(".")[0] + ".py") for so in core.parents[1].rglob("*.so")}
    if any(source.stat().st_mtime > so.stat().st_mtime for so, source in modules.items()):
        pytest.exit("the compiled core is older than its source: make compile, or make clean", returncode=2)
    return "dlibos core: compiled by mypyc"
