"""Process hardening of a tile: what it gives up before it hears its first peer. Read profile.py, then apply.py.

`python -m dlibos_node.hardening` tries every mechanism on itself and prints what this kernel offers.
"""
