"""`python -m dlibos_orchestrator` is `dlibos`."""

from __future__ import annotations

import sys

from dlibos_orchestrator.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
