"""Congestion control: one interface (control.py) and the algorithms behind it."""
