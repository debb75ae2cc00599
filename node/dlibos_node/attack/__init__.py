"""Compromised tiles: what an attacker does who runs code inside one, for `dlibos attack`. Read tile.py, then suite.py.

`python -m dlibos_node.attack --dir DIR --tile N` is an ordinary tile that also performs, on order, the attacks its role
allows, with the descriptors, mappings, keys and links it has. `python -m dlibos_node.attack.outsider --dir DIR` is a
process of the same user that is no tile. What an attack should come to is the orchestrator's to know, not ours.
"""
