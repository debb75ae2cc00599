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
    stack   app     DEAD        0      connection, reason (tcp.connection close reasons, or HANDED_OVER)
    any     any     FAULT       2      reason (memory.fault.CODES), tag of the message that was refused
  while tiles come, drain and go:
    stack   driver  STEER       1      serial, stack tile, then buckets, four a word (lowest first; NO_BUCKET fills up)
                                       serial 0: they came here by mistake; no answer is wanted
    driver  stack   STEERED     0      serial: frames for those buckets go there; none comes to the sender any more
    stack   driver  PASS        2      stack tile, then release words: the sender's leases are that tile's now
    driver  stack   PASSED      2      stack tile, then release words: that tile's leases are the receiver's now
    stack   stack   ADOPT       0      connection, part | parts << 32, then words of its state (stack.transfer)
    stack   stack   ADOPTED     0      connection: it is the sender's now
    stack   stack   TIME_WAIT   0      words of a connection that is over (stack.transfer)
    stack   stack   BUCKETS     0      buckets, four a word: they and all their connections are the receiver's now
    stack   app     MOVING      0      connection, stack tile: it will be served there; say no more about it here
    app     stack   MOVE        1      connection: nothing follows from here
    stack   app     MOVED       0      connection, bytes told of and not consumed: the new stack tile serves it
    app     stack   LEFT        1      connection: it goes on elsewhere, to the stack tile that served it before
    app     stack   ORPHANS     1      peer address << 32 | peer port << 16 | local port of each connection that a dead
                                       stack tile left behind: its client is to be told
    driver  stack   WITHDRAW    0      (none): send nothing by way of the sender any more
    stack   driver  WITHDRAWN   1      (none): nothing follows
    app     stack   UNLISTEN    1      port: no new connections
    stack   app     UNLISTENED  0      port: no CONNECTED of it follows
    app     stack   HAND_OVER   1      connection: another application tile may have it, with what was not consumed, as
                                       soon as the peer has acknowledged all. DEAD(HANDED_OVER) or KEPT follows
    stack   app     KEPT        0      connection, KEPT_*: nobody else can have it

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
STEER: Final = 6
STEERED: Final = 7
PASS: Final = 8
PASSED: Final = 9
WITHDRAW: Final = 10
WITHDRAWN: Final = 11
LISTEN: Final = 16
SEND: Final = 17
RECV_DONE: Final = 18
CLOSE: Final = 19
ABORT: Final = 20
MOVE: Final = 21
LEFT: Final = 22
ORPHANS: Final = 23
UNLISTEN: Final = 24
HAND_OVER: Final = 25
LISTENING: Final = 32
CONNECTED: Final = 33
RECV: Final = 34
SENT: Final = 35
PEER_CLOSED: Final = 36
DEAD: Final = 37
MOVING: Final = 38
MOVED: Final = 39
UNLISTENED: Final = 40
KEPT: Final = 41
ADOPT: Final = 48
ADOPTED: Final = 49
TIME_WAIT: Final = 50
BUCKETS: Final = 51

NO_BUCKET: Final = 0xFFFF  # fills the last word of a list of buckets
BUCKETS_A_WORD: Final = 4


def bucket_words(buckets: list[int]) -> list[int]:
    """Pack buckets, four a word, lowest first."""
    padded = [*buckets, *[NO_BUCKET] * (-len(buckets) % BUCKETS_A_WORD)]
    return [
        padded[i] | padded[i + 1] << 16 | padded[i + 2] << 32 | padded[i + 3] << 48
        for i in range(0, len(padded), BUCKETS_A_WORD)
    ]


def buckets_of(words: list[int]) -> list[int]:
    """Unpack buckets."""
    every = [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    return [bucket for bucket in every if bucket != NO_BUCKET]


HANDED_OVER: Final = 16  # reason of a DEAD: another application tile has the connection; the client noticed nothing

# why a connection was not handed over
KEPT_ALONE: Final = 0  # no other application tile shares the port
KEPT_CLOSING: Final = 1  # it is about to end

# aux flags of an RX descriptor
RX_CHECKSUM_OK: Final = 1  # the device vouches for the transport checksum (virtio NEEDS_CSUM or DATA_VALID)
RX_COPY: Final = 2  # a broadcast copy: learn from it, another stack tile answers

# meta word of a TX message: gso_size << 16 | header length << 8 | TX_* flags
TX_NEEDS_CHECKSUM: Final = 1
