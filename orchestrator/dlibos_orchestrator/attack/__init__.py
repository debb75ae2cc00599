"""`dlibos attack`: break in from compromised tiles, see it fail, and see it succeed without protection.

Read catalogue.py (what is tried, what should stop it), verdict.py (what counts as stopped), run.py (how it is done).
The attacks themselves are in node/dlibos_node/attack; the two meet by the control protocol (orders.py) and names alone.
"""
