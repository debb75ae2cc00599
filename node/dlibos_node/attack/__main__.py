"""`python -m dlibos_node.attack --dir DIR --tile N`: one tile of a mesh, compromised."""

from __future__ import annotations

import sys

from dlibos_node import __main__ as tile
from dlibos_node.attack.tile import CompromisedTile


def main(arguments: list[str] | None = None) -> int:
    """Run the tile, as `dlibos_node` does an honest one."""
    return tile.main(arguments, CompromisedTile)


if __name__ == "__main__":
    sys.exit(main())
