"""Attacks that ask for what one is not entitled to: a tile's memory at its handover, a TAP queue at the keeper.

They speak the exchange of `greeting` themselves: as who they are, or as somebody else with no key or with their own.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from dlibos_node import greeting
from dlibos_node.attack.answer import OK, Answer, Order, Step
from dlibos_node.attack.memory import TECHNIQUES, search, strike
from dlibos_node.attack.tile import CompromisedTile
from dlibos_node.errors import IdentityError, RefusedError
from dlibos_node.identity import KEEPER, NONCE, Context, Credentials
from dlibos_node.memory.descriptor import INDEX_MASK
from dlibos_node.memory.partition import Partition

PATIENCE: Final = 5.0  # seconds
Attack = Callable[[CompromisedTile, Order], Answer | Awaitable[Answer]]
Spoils = tuple[str, list[int], list[int]]
"""OK or the reason of the refusal, the numbers of the partitions that were named, the descriptors."""


def ask(path: str, callee: int, claim: int, context: Context, credentials: Credentials | None) -> Spoils:
    """Ask as tile `claim` for what listens at `path`, proving it with whatever keys there are."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        nonce = secrets.token_bytes(NONCE)
        sock.sendall(json.dumps({"tile": claim, "nonce": nonce.hex()}).encode() + b"\n")
        line, descriptors = _receive(sock)
        said = json.loads(line or b"{}")
        if isinstance(said, dict) and "proof" in said:
            pids = (os.getpid(), greeting.peer_process(sock).pid)
            made = _proof(said, callee, context, credentials, nonce, pids)
            sock.sendall(json.dumps({"proof": made.hex(), "pids": pids}).encode() + b"\n")
            line, descriptors = _receive(sock)
            said = json.loads(line or b"{}")
    if isinstance(said, dict) and "error" in said:
        return str(said["error"]), [], descriptors
    numbers = [int(entry["number"]) for entry in said] if isinstance(said, list) else []
    return OK if descriptors else "nothing", numbers, descriptors


def _proof(
    said: dict[str, str],
    callee: int,
    context: Context,
    credentials: Credentials | None,
    nonce: bytes,
    pids: tuple[int, int],
) -> bytes:
    """Return the best proof there is: made by our own key, or by none."""
    if credentials is None:
        return bytes(32)
    made = credentials.prove(context, callee, bytes.fromhex(said["nonce"]), nonce, struct.pack(">qq", *pids))
    return made or bytes(32)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    line, descriptors, _, _ = socket.recv_fds(sock, 4096, 64)
    return line, descriptors


def as_oneself(tile: CompromisedTile, path: str, callee: int, context: Context) -> Spoils:
    """Ask as the tile one is, by the book."""
    if tile.credentials is None:
        return ask(path, callee, tile.tile.tile, context, None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        caller = greeting.Caller(tile.credentials, context, callee)
        sock.sendall(caller.greeting())
        try:
            sock.sendall(caller.answer(sock.recv(greeting.LINE), greeting.peer_process(sock)))
        except RefusedError as error:
            return error.reason, [], []
        except IdentityError:
            return "no_shared_key", [], []
        line, descriptors = _receive(sock)
    said = json.loads(line)
    if isinstance(said, dict):
        return str(said.get("error", "nothing")), [], descriptors
    return OK, [int(entry["number"]) for entry in said], descriptors


def memory_of(role: str) -> Attack:
    """Ask a tile for its memory as oneself, without being entitled to it."""

    async def perform(tile: CompromisedTile, order: Order) -> Answer:
        victim = tile.victim(role)
        answer = loot(as_oneself(tile, victim.memory, victim.tile, Context.MEMORY), tile.tile.domain, order)
        # A tile's second connection takes the place of its first, whose mappings end and come again.
        await tile.mapped_anew(victim.tile)
        return answer

    return perform


def memory_as(claimed: str, role: str) -> Attack:
    """Ask a tile for its memory under the name of another tile, with one's own keys."""

    def perform(tile: CompromisedTile, order: Order) -> Answer:
        victim, claim = tile.victim(role), tile.victim(claimed).tile
        return loot(ask(victim.memory, victim.tile, claim, Context.MEMORY, tile.credentials), 0, order)

    return perform


def loot(spoils: Spoils, domain: int, order: Order) -> Answer:
    """Use what was handed over: search it, write to it. What belongs to the asker's own domain is no loot."""
    result, numbers, descriptors = spoils
    entitled = [number for number in numbers if domain and number & INDEX_MASK == domain]
    if numbers and entitled == numbers:
        result = "own_domain_only"
    step = Step("ask", result)
    handed = zip(numbers, descriptors, strict=True) if numbers else ()
    foreign = [_attach(number, descriptor) for number, descriptor in handed if number not in entitled]
    found, total = search(foreign, order.canary)
    changed = [strike(partition, TECHNIQUES["pwrite"])[1] for partition in foreign]
    for partition in foreign:
        partition.close()
    for descriptor in descriptors:
        os.close(descriptor)
    detail = f"{len(numbers)} partitions, {total} bytes read, {sum(changed)} written" if numbers else ""
    return Answer((step,), bool(foreign), detail, tuple(found))


def _attach(number: int, descriptor: int) -> Partition:
    """Map what was handed over, writable if that is possible."""
    try:
        return Partition.attach(number, os.dup(descriptor), protected=False)
    except OSError:
        return Partition.attach(number, os.dup(descriptor))


def queue(tile: CompromisedTile, order: Order) -> Answer:
    """Ask the keeper for a queue of the TAP device under the name of a driver tile, and put a frame on the wire."""
    del order
    driver = tile.victim("driver").tile
    return spoof(ask(tile.mesh.nic.keeper, KEEPER, driver, Context.KEEPER, tile.credentials))


def spoof(spoils: Spoils) -> Answer:
    """Send a frame, one of a protocol nobody speaks, by the queue that was handed over, and close it."""
    result, _, descriptors = spoils
    if not descriptors:
        return Answer((Step("ask the keeper", result),), False)
    # virtio-net header, broadcast, a source of our own, the EtherType for local experiments (IEEE 802)
    frame = bytes(10) + b"\xff" * 6 + b"\x02\xd1\xb0\x00\x00\x66" + b"\x88\xb5" + bytes(46)
    try:
        sent = os.write(descriptors[0], frame)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return Answer((Step("ask the keeper", OK), Step("write a frame", OK)), sent == len(frame), "spoofed a frame")


def attacks(role: str) -> dict[str, Attack]:
    """Return the attacks of a role that ask, by name."""
    by_role: dict[str, dict[str, Attack]] = {
        "app": {
            "ask-rx": memory_of("driver"),
            "ask-tx": memory_of("stack"),
            "ask-app": memory_of("app"),
            "ask-rx-as-stack": memory_as("stack", "driver"),
            "ask-app-as-driver": memory_as("driver", "app"),
            "queue": queue,
        },
        "stack": {"ask-tx": memory_of("stack"), "ask-tx-as-driver": memory_as("driver", "stack"), "queue": queue},
        "driver": {"ask-rx": memory_of("driver"), "ask-rx-as-stack": memory_as("stack", "driver")},
    }
    return {f"{role}-{name}": attack for name, attack in by_role[role].items()}
