"""What protection costs per request, part by part, in one process and without gRPC. Read `measure` first.

`python -m dlibos_node.cost` prints what it measured as JSON; `dlibos bench protection` says what that comes to.
"""
