"""`python -m dlibos_node.attack --dir DIR --tile N`: one tile of a mesh, compromised."""

from __future__ import annotations

import sys

from dlibos_node.__main__ import main
from dlibos_node.attack.tile import CompromisedTile

if __name__ == "__main__":
    sys.exit(main(make=CompromisedTile))
