"""Tries every mechanism on this process and prints what became of each, as JSON: for `dlibos doctor`."""

from __future__ import annotations

import json
import sys

from dlibos_node.errors import HardeningError
from dlibos_node.hardening.apply import harden
from dlibos_node.hardening.landlock import Rules
from dlibos_node.hardening.profile import Profile


def main() -> int:
    """Print a list of {"mechanism", "state", "detail", "fix"}; 1 and a line on stderr when one fails."""
    try:
        outcomes = harden(Profile("trial", Rules(), inet=False))
    except HardeningError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps([outcome._asdict() for outcome in outcomes]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
