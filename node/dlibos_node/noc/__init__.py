"""L2: the network-on-chip: messages of 64-bit words, demux queues, credits, routes; and the link that carries them.

Read `message` (what a word means), then `peer` and `queues` (credits), `handshake` (who
is at the other end), then `link` (the only module that knows gRPC).
"""

import os

# grpcio's event engine costs a third of the one-way messages and a quarter of the round trips on unix sockets between
# asyncio processes (docs/limits.md has the figures); the switch is read when grpc is first imported, after this line.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
