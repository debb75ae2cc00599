"""The transition table is total, closed, and says what RFC 9293 figure 5 says."""

from __future__ import annotations

import pytest

from dlibos_node.tcp import state


def test_table_is_total_and_closed() -> None:
    assert len(state.TABLE) == len(state.NAMES)
    for row in state.TABLE:
        assert len(row) == len(state.INPUTS)
        assert all(0 <= after < len(state.NAMES) for after in row)


def test_constants_index_names() -> None:
    for number, name in enumerate(state.NAMES):
        assert getattr(state, name) == number
    for number, name in enumerate(state.INPUTS):
        assert getattr(state, name) == number


def test_closed_is_final_and_abort_always_leads_there() -> None:
    assert set(state.TABLE[state.CLOSED]) == {state.CLOSED}
    assert all(row[state.ABORT] == state.CLOSED for row in state.TABLE)


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ("CLOSE FIN_ACKED FIN", "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT"),
        ("CLOSE FIN FIN_ACKED", "FIN_WAIT_1 CLOSING TIME_WAIT"),
        ("FIN CLOSE FIN_ACKED", "CLOSE_WAIT LAST_ACK CLOSED"),
    ],
)
def test_every_order_of_closing(inputs: str, path: str) -> None:
    now, passed = state.ESTABLISHED, []
    for happened in inputs.split():
        now = state.after(now, getattr(state, happened))
        passed.append(state.NAMES[now])
    assert passed == path.split()


@pytest.mark.parametrize("start", range(len(state.NAMES)))
def test_every_state_reaches_closed(start: int) -> None:
    reached, todo = set(), [start]
    while todo:
        now = todo.pop()
        if now not in reached:
            reached.add(now)
            todo.extend(state.TABLE[now])
    assert state.CLOSED in reached


def test_may_receive_until_the_fin_and_may_send_until_ours_is_acknowledged() -> None:
    assert [state.NAMES[s] for s in range(10) if state.may_receive(s)] == ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"]
    sending = ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1", "CLOSING", "LAST_ACK"]
    assert [state.NAMES[s] for s in range(10) if state.may_send(s)] == sending
