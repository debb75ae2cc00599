"""The exchange of lines: who is believed, what is not, and that nobody passes it on unseen."""

from __future__ import annotations

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlibos_node import greeting
from dlibos_node.errors import IdentityError, RefusedError
from dlibos_node.greeting import Callee, Caller, PeerProcess, Refusal
from dlibos_node.identity import Context, Credentials
from tests.support.keys import credentials

HERE = PeerProcess(os.getpid(), os.geteuid())
OTHER_MESH = bytes(32)


def callee(own: Credentials | None = None, seen: PeerProcess = HERE, context: Context = Context.MEMORY) -> Callee:
    return Callee(own or credentials(2, 1), context, seen)


def talk(caller: Caller, other: Callee, caller_sees: PeerProcess = HERE) -> Refusal | None:
    """Carry the lines; raises what the caller raises."""
    challenge = other.challenge(caller.greeting())
    line = greeting.refuse(challenge) if isinstance(challenge, Refusal) else challenge
    return other.check(caller.answer(line, caller_sees))


def test_both_sides_believe_each_other() -> None:
    other = callee()
    assert talk(Caller(credentials(1, 2), Context.MEMORY, 2), other) is None
    assert other.tile == 1


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert greeting.peer_process(one) == HERE


def test_without_credentials_nothing_is_asked_for() -> None:
    other = Callee(None, Context.MEMORY, HERE)
    assert other.challenge(greeting.plain_greeting(7)) == b""
    assert other.tile == 7


@pytest.mark.parametrize(
    "line", [greeting.plain_greeting(1), b'{"tile": 1, "nonce": "00"}', b'{"tile": 9, "nonce": 3}']
)
def test_who_proves_nothing_is_refused_and_gets_no_proof_either(line: bytes) -> None:
    assert callee().challenge(line) is Refusal.PROOF


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"tile": "1"}', b'{"tile": true}', b"\xff", b"[" * 1000])
def test_nonsense_is_no_greeting(line: bytes) -> None:
    assert callee().challenge(line) is Refusal.GREETING


def test_another_user_is_refused_whatever_he_knows() -> None:
    stranger = HERE._replace(uid=HERE.uid + 1)
    assert callee(seen=stranger).challenge(Caller(credentials(1, 2), Context.MEMORY, 2).greeting()) is Refusal.USER


def test_a_caller_with_a_stolen_number_and_the_wrong_key_gets_nowhere() -> None:
    thief = Caller(credentials(1, 2, key=OTHER_MESH), Context.MEMORY, 2)
    with pytest.raises(IdentityError, match="does not prove to be who it should"):
        talk(thief, callee())


@given(st.binary(min_size=32, max_size=32))
def test_a_made_up_proof_is_refused(proof: bytes) -> None:
    other = callee()
    other.challenge(Caller(credentials(1, 2), Context.MEMORY, 2).greeting())
    line = json.dumps({"proof": proof.hex(), "pids": [os.getpid(), os.getpid()]}).encode()
    assert other.check(line) is Refusal.PROOF


def test_a_proof_for_something_else_is_refused() -> None:
    with pytest.raises(IdentityError):
        talk(Caller(credentials(1, 2), Context.KEEPER, 2), callee())


def test_recorded_lines_are_worth_nothing() -> None:
    caller, first = Caller(credentials(1, 2), Context.MEMORY, 2), callee()
    hello = caller.greeting()
    challenge = first.challenge(hello)
    assert isinstance(challenge, bytes)
    proof = caller.answer(challenge, HERE)
    assert first.check(proof) is None
    second = callee()
    assert isinstance(second.challenge(hello), bytes)
    assert second.check(proof) is Refusal.PROOF


def test_a_callee_s_own_proof_sent_back_is_refused() -> None:
    other = callee()
    challenge = other.challenge(Caller(credentials(1, 2), Context.MEMORY, 2).greeting())
    assert isinstance(challenge, bytes)
    assert other.check(challenge) is Refusal.PROOF


def test_the_reason_of_a_refusal_reaches_the_caller() -> None:
    caller = Caller(credentials(1, 2), Context.MEMORY, 2)
    with pytest.raises(RefusedError, match="too_many_unproved") as caught:
        caller.answer(greeting.refuse(Refusal.CROWDED), HERE)
    assert caught.value.reason == "too_many_unproved"


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'{"nonce": "", "proof": ""}', b'{"pids": ["a", 2]}'])
def test_a_callee_that_proves_nothing_is_not_told_anything(line: bytes) -> None:
    with pytest.raises(IdentityError, match="does not prove"):
        Caller(credentials(1, 2), Context.MEMORY, 2).answer(line, HERE)


def test_who_passes_the_lines_on_is_seen_by_both() -> None:
    between = HERE._replace(pid=HERE.pid + 1)
    caller = Caller(credentials(1, 2), Context.MEMORY, 2)
    with pytest.raises(IdentityError):
        talk(caller, callee(seen=between), caller_sees=between)
    challenge = callee(seen=HERE).challenge(caller.greeting())  # a callee that does not look
    assert isinstance(challenge, bytes)
    with pytest.raises(IdentityError):
        caller.answer(challenge, between)
    other = callee(seen=HERE)
    challenge = other.challenge(caller.greeting())
    assert isinstance(challenge, bytes)
    forged = json.loads(caller.answer(challenge, HERE)) | {"pids": [between.pid, HERE.pid]}
    assert other.check(json.dumps(forged).encode()) is Refusal.PROOF


def test_ends_that_see_no_process_ids_believe_each_other() -> None:
    apart = HERE._replace(pid=0)
    assert talk(Caller(credentials(1, 2), Context.MEMORY, 2), callee(seen=apart), caller_sees=apart) is None
