"""How a transfer fares under loss, as a table: a change in the sender shows here before anybody measures it.

To renew it after a wanted change, run the test, read the table it prints and copy it here. Numbers are of one seeded
wire of 10 ms round-trip time: milliseconds until 200 kB are delivered and acknowledged, packets of both sides, segments
sent again, time-outs.
"""

from __future__ import annotations

import random

from dlibos_node.tcp import event
from dlibos_node.tcp.config import TcpConfig
from tests.tcp.pair import Host, Pair, Wire

TABLE = """
 loss  buffer    time packets resent timeouts
  0.0    8000     350     209      0        0
  0.0   64000      60     208      0        0
  0.0 1000000      60     208      0        0
 0.01    8000     380     213      1        0
 0.01   64000     110     225      1        0
 0.01 1000000     110     224      1        0
 0.05    8000     711     230      5        1
 0.05   64000     235     247      4        0
 0.05 1000000     235     247      4        0
  0.1    8000    5432     260     17       10
  0.1   64000    1368     243     12        3
  0.1 1000000    1908     249     14        3
"""


def row(loss: float, buffer: int) -> str:
    client, server = Host(random.Random(1).randbytes(200_000), 50_000), Host(b"", 1)
    pair = Pair(client, server, Wire(11, loss), None, TcpConfig(receive_buffer=buffer))
    begin = pair.now
    pair.run()
    assert bytes(server.received) == client.data
    assert (event.CLOSED, event.NORMAL) in client.log
    assert client.connection is not None
    counts = client.connection.statistics
    time = (pair.now - client.config.time_wait - begin) // 1_000
    return f"{loss:5} {buffer:7} {time:7} {pair.packets:7} {counts.retransmits:6} {counts.timeouts:8}"


def test_table() -> None:
    lines = [row(loss, buffer) for loss in (0.0, 0.01, 0.05, 0.1) for buffer in (8_000, 64_000, 1_000_000)]
    table = "\n".join(["", " loss  buffer    time packets resent timeouts", *lines, ""])
    assert table == TABLE, table
