"""Orders over a real control socket, with an attacker that answers, falls over, or dies."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlibos_orchestrator.attack import orders
from dlibos_orchestrator.attack.orders import Attacker
from dlibos_orchestrator.attack.verdict import Answer
from dlibos_orchestrator.errors import MeshStateError


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[list[dict[str, object]]]:
    """Listen at a path; answer each order in turn, then end; give what was ordered."""
    ordered: list[dict[str, object]] = []

    def serve() -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as lines:
            for answer in answers:
                ordered.append(json.loads(lines.readline()))
                client.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        yield ordered
        thread.join()


def test_an_order_and_its_answer(tmp_path: Path) -> None:
    said = {"steps": [["pwrite", "EPERM"]], "reached": False, "detail": "partition 2", "read": ["x"]}
    with answering(tmp_path / "5.sock", json.dumps(said).encode() + b"\n") as ordered:
        attacker = Attacker(tmp_path / "5.sock")
        answer = attacker.order("app-rx-pwrite", {"canary": "c"})
        attacker.close()
    assert ordered == [{"do": "app-rx-pwrite", "order": {"canary": "c"}}]
    assert answer == Answer((("pwrite", "EPERM"),), False, "partition 2", ("x",))


def test_an_attacker_that_falls_over_or_dies_answers_with_an_error(tmp_path: Path) -> None:
    with answering(tmp_path / "5.sock", b'{"error": "KeyError: 5"}\n', b""):
        attacker = Attacker(tmp_path / "5.sock")
        assert attacker.order("one", {}) == Answer(error="KeyError: 5")
        assert attacker.order("two", {}) == Answer(error="the attacker's process ended")
        attacker.close()


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PATIENCE", 0.01)
    with pytest.raises(MeshStateError, match=r"no attacker listens at .*5\.sock"):
        Attacker(tmp_path / "5.sock")
