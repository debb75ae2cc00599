"""What the messages between roles say: tag, demux queue and payload words of each.

    from    to      tag         queue  payload words
    driver  stack   RX          0      descriptor (2 words; aux of the second: RX_* flags)
    driver  stack   TX_DONE     2      number of TX messages finished, in the order they were sent
    stack   driver  TX          1      meta, header descriptor (2), then payload descriptors (2 each, at most 61)
    stack   driver  RELEASE     2      release words of RX buffers (1 each, at most 126)
    app     stack   LISTEN      1      port, backlog (0: the stack's default)
    app     stack   SEND        1      connection, then descriptors in APP (2 each, at most 62)
    app     stack   RECV_DONE   1      pairs of connection and bytes consumed (at most 63)
    app     stack   CLOSE       1      connection (FIN after what was sent)
    app     stack   ABORT       1      connection (RST)
    stack   app     LISTENING   0      port, 0 or the errno that says why not
    stack   app     CONNECTED   0      connection, peer address << 32 | peer port << 16 | local port
    stack   app     RECV        0      connection, descriptor in RX (2)
    stack   app     SENT        0      pairs of connection and bytes the peer newly acknowledged (at most 63)
    stack   app     PEER_CLOSED 0      connection (FIN)
    stack   app     DEAD        0      connection, reason (tcp.connection close reasons)
    any     any     FAULT       2      reason (memory.fault.CODES), tag of the message that was refused

One queue carries everything whose order matters between two roles: RECV must not overtake CONNECTED, CLOSE must not
overtake SEND. RECV_DONE and SENT only count, so a tile gathers them while it works through a frame and sends them
behind everything else; they may name a connection that has ended meanwhile. RECV_DONE comes for every byte of RECV,
after DEAD too: only then is its buffer free. Releases and completions of buffers have a queue of their own, so that a
full command queue can never keep a buffer from coming back.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final = 0
COMMANDS: Final = 1
RELEASES: Final = 2

RX: Final = 1
TX_DONE: Final = 2
TX: Final = 3
RELEASE: Final = 4
FAULT: Final = 5
LISTEN: Final = 16
SEND: Final = 17
RECV_DONE: Final = 18
CLOSE: Final = 19
ABORT: Final = 20
LISTENING: Final = 32
CONNECTED: Final = 33
RECV: Final = 34
SENT: Final = 35
PEER_CLOSED: Final = 36
DEAD: Final = 37

# aux flags of an RX descriptor
RX_CHECKSUM_OK: Final = 1  # the device vouches for the transport checksum (virtio NEEDS_CSUM or DATA_VALID)
RX_COPY: Final = 2  # a broadcast copy: learn from it, another stack tile answers

# meta word of a TX message: gso_size << 16 | header length << 8 | TX_* flags
TX_NEEDS_CHECKSUM: Final = 1
