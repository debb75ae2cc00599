"""Proofs: what verifies, and that nothing else does; credentials from a descriptor."""

from __future__ import annotations

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dlibos_node.errors import ConfigurationError
from dlibos_node.identity import KEEPER, Context, Credentials, parse, receive
from tests.support.keys import credentials

nonces = st.binary(min_size=32, max_size=32)
tiles = st.integers(0, 255)
contexts = st.sampled_from(Context)
OTHER_MESH = bytes(32)


@given(contexts, tiles, tiles, nonces, nonces, st.binary(max_size=20))
def test_a_proof_verifies_where_it_was_made_for(
    context: Context, one: int, other: int, mine: bytes, theirs: bytes, about: bytes
) -> None:
    prover, verifier = credentials(one, other), credentials(other, one)
    proof = prover.prove(context, other, theirs, mine, about)
    assert verifier.verify(context, one, theirs, mine, proof, about)


@given(contexts, contexts, nonces, nonces, nonces)
def test_no_proof_verifies_in_another_context_or_for_another_nonce(
    made_for: Context, context: Context, mine: bytes, theirs: bytes, other: bytes
) -> None:
    assume(other not in {mine, theirs})
    proof = credentials(1, 2).prove(made_for, 2, theirs, mine)
    verifier = credentials(2, 1)
    assert verifier.verify(context, 1, theirs, mine, proof) == (context is made_for)
    assert not verifier.verify(context, 1, other, mine, proof)
    assert not verifier.verify(context, 1, theirs, other, proof)


@given(contexts, tiles, tiles, tiles, nonces, nonces)
def test_no_proof_verifies_for_another_tile(
    context: Context, prover: int, verifier: int, other: int, mine: bytes, theirs: bytes
) -> None:
    assume(len({prover, verifier, other}) == 3)
    proof = credentials(prover, verifier).prove(context, verifier, theirs, mine)
    assert not credentials(other, prover).verify(context, prover, theirs, mine, proof)
    assert not credentials(verifier, other).verify(context, other, theirs, mine, proof)


@given(contexts, nonces, nonces)
def test_no_proof_verifies_at_its_own_maker(context: Context, mine: bytes, theirs: bytes) -> None:
    maker = credentials(1, 2)
    proof = maker.prove(context, 2, theirs, mine)
    assert not maker.verify(context, 2, theirs, mine, proof)
    assert not maker.verify(context, 2, mine, theirs, proof)


@given(contexts, nonces, nonces)
def test_no_proof_verifies_under_another_mesh_s_key(context: Context, mine: bytes, theirs: bytes) -> None:
    proof = credentials(1, 2, key=OTHER_MESH).prove(context, 2, theirs, mine)
    assert not credentials(2, 1).verify(context, 1, theirs, mine, proof)


@given(nonces, nonces, st.binary(max_size=40), st.binary(max_size=40))
def test_no_proof_verifies_about_something_else(mine: bytes, theirs: bytes, about: bytes, other: bytes) -> None:
    assume(about != other)
    proof = credentials(1, 2).prove(Context.MEMORY, 2, theirs, mine, about)
    assert not credentials(2, 1).verify(Context.MEMORY, 1, theirs, mine, proof, other)


@given(nonces, st.binary(max_size=64))
def test_what_was_not_made_with_the_key_does_not_verify(nonce: bytes, proof: bytes) -> None:
    assert not credentials(2, 1).verify(Context.NOC, 1, nonce, nonce, proof)


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_a_malformed_nonce_gets_no_proof_and_verifies_none(nonce: bytes) -> None:
    assert credentials(1, 2).prove(Context.NOC, 2, nonce, bytes(32)) == b""
    assert not credentials(1, 2).verify(Context.NOC, 2, bytes(32), nonce, b"")


def test_a_tile_without_a_key_gets_no_proof_and_verifies_none() -> None:
    lonely = credentials(1)
    assert lonely.prove(Context.NOC, 2, bytes(32), bytes(32)) == b""
    assert not lonely.verify(Context.NOC, 2, bytes(32), bytes(32), b"")


def descriptor_of(document: bytes) -> int:
    descriptor = os.memfd_create("test")
    os.write(descriptor, document)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def test_credentials_come_from_a_descriptor_that_is_closed_then() -> None:
    descriptor = descriptor_of(b'{"peers": {"2": "%s"}, "keeper": "%s"}' % (b"01" * 32, b"02" * 32))
    received = receive(descriptor, 1)
    made = Credentials(1, {2: b"\1" * 32, KEEPER: b"\2" * 32})
    for peer in (2, KEEPER):
        proof = received.prove(Context.KEEPER, peer, bytes(32), bytes(32))
        assert proof == made.prove(Context.KEEPER, peer, bytes(32), bytes(32)) != b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"peers": 3}', b'{"peers": {"2": "00"}}', b'{"peers": {"x": ""}}', b'{"peers": {"2": 7}}'],
)
def test_nonsense_is_refused_and_not_shown(document: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"the credentials make no sense: .*dlibos up"):
        parse(document, 1)


def test_a_descriptor_that_is_none_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"--credentials-fd 999999: Bad file descriptor"):
        receive(999999, 1)
