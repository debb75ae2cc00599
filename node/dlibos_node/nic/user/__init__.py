"""The user-mode NIC, for machines where no TAP can be had: sockets on the host joined to the mesh in memory.

    host socket -- splice.py -- client.py, our own TCP as the client -- in-memory wire -- driver tile

nic.py is the `Device`, and opens the published ports. Read client.py for what the mesh sees.
"""

from __future__ import annotations

from dlibos_node.nic.user.answer import Link
from dlibos_node.nic.user.nic import UserNic, open_user_nic

__all__ = ["Link", "UserNic", "open_user_nic"]
