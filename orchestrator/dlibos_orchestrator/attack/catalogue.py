"""The attacks: who tries what, which mechanism should stop it, and by what that shows. Data; `find` picks from it.

`expects` are tokens of which evidence must hold one (verdict.py): names of errnos, gRPC statuses, reasons of refusals.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, NamedTuple

from dlibos_orchestrator.errors import UsageError


class Attack(NamedTuple):
    """`must`: whether it has to succeed without protection. `scene`: what the runner does around it (scenes.py)."""

    name: str
    by: str
    aim: str
    mechanism: str
    expects: frozenset[str]
    must: bool = False
    scene: str = "plain"


def _attack(name: str, aim: str, mechanism: str, expects: str, *, must: bool = False, scene: str = "plain") -> Attack:
    return Attack(name, name.partition("-")[0], aim, mechanism, frozenset(expects.split()), must, scene)


# --- memory that a tile maps but does not own -------------------------------------------------------------------

REGIONS: Final = {
    "app-rx": "received frames of its own domain",
    "stack-rx": "received frames of the other domain",
    "stack-app": "another application's memory",
    "driver-tx": "a stack's headers",
    "driver-app": "an application's memory",
}
_FUTURE: Final = "seal F_SEAL_FUTURE_WRITE"
TECHNIQUES: Final = (
    ("write", "write {} through its mapping", "read-only mapping", "EFAULT", True),
    ("map", "map {} writable", _FUTURE, "EPERM", True),
    ("mprotect", "make its mapping of {} writable", _FUTURE, "EACCES", True),
    ("reopen", "open {} anew by /proc and write", _FUTURE, "EPERM EACCES", True),
    ("pwrite", "write {} by its descriptor", _FUTURE, "EPERM", True),
    ("own-mem", "write {} by /proc/self/mem", "Landlock; read-only mapping", "EACCES EPERM EFAULT EIO", True),
    ("truncate", "cut {} off", "seal F_SEAL_SHRINK", "EPERM", True),
    ("punch", "take pages out of {}", _FUTURE, "EPERM", True),
    ("seal", "seal {} against its owner", "seal F_SEAL_SEAL", "EPERM", False),
)
MEMORY: Final = tuple(
    _attack(f"{prefix}-{name}", aim.format(region), mechanism, expects, must=must)
    for prefix, region in REGIONS.items()
    for name, aim, mechanism, expects, must in TECHNIQUES
)

# --- other processes and the machine ----------------------------------------------------------------------------

_DUMPABLE: Final = "seccomp; not dumpable"
COMMON: Final = (
    ("ptrace", "attach to another tile as a debugger", _DUMPABLE, "EPERM", False),
    ("vm-write", "write another tile's memory by process_vm_writev", _DUMPABLE, "EPERM", False),
    ("getfd", "take another tile's descriptor by pidfd_getfd", _DUMPABLE, "EPERM", False),
    ("stop", "stop another tile by a signal", "seccomp", "EPERM", True),
    ("exec", "start a shell", "seccomp", "EPERM EACCES", True),
    ("execve", "become another program", "seccomp", "EPERM", True),
    ("tun", "open /dev/net/tun", "Landlock", "EACCES EPERM", False),
    ("packet", "open a packet socket to spoof frames", "seccomp; no capabilities", "EPERM", False),
    ("inet", "open an internet socket", "seccomp", "EPERM", True),
    ("status", "overwrite another tile's status", "Landlock", "EACCES EPERM", True),
    ("deface", "put a file among those of the other domain", "Landlock", "EACCES EPERM", True),
)
PROCESS: Final = tuple(
    _attack(f"{role}-{name}", aim, mechanism, expects, must=must)
    for role in ("app", "stack", "driver")
    for name, aim, mechanism, expects, must in COMMON
)
READING: Final = (
    _attack("app-vm-read", "read another tile's memory by process_vm_readv", _DUMPABLE, "EPERM"),
    _attack("app-mem", "read another tile's memory by /proc/PID/mem", "Landlock; not dumpable", "EACCES EPERM"),
    _attack("app-fds", "open another tile's memory by /proc/PID/fd", "Landlock; not dumpable", "EACCES EPERM"),
    _attack("app-read-files", "read the files of the other domain", "Landlock", "EACCES EPERM", must=True),
    _attack("app-look", "find the other domain's data in all it maps", "RX per domain", "absent", must=True),
)

# --- what makes the mesh what it is -----------------------------------------------------------------------------

CONTROL_PLANE: Final = tuple(
    _attack(f"{role}-{name}", aim, mechanism, expects, must=must)
    for role in ("app", "stack", "driver")
    for name, aim, mechanism, expects, must in (
        ("key", "read the mesh key", "Landlock", "EACCES EPERM", True),
        ("desired", "change what the mesh is to be", "Landlock", "EACCES EPERM", True),
        ("nursery", "take the socket of the nursery that forks tiles", _DUMPABLE, "EPERM", False),
    )
)

# --- asking for what one is not entitled to ---------------------------------------------------------------------

_RIGHTS: Final = "entitlement at handover"
_PROOF: Final = "proof of identity"
_UNPROVED: Final = "wrong_proof no_shared_key"
ASKING: Final = (
    _attack("app-ask-rx", "get the other domain's received frames", _RIGHTS, "own_domain_only", must=True),
    _attack("app-ask-tx", "get a stack's memory", _RIGHTS, "not_entitled", must=True),
    _attack("app-ask-app", "get another application's memory", _RIGHTS, "not_entitled", must=True),
    _attack("app-ask-rx-as-stack", "get all received frames as a stack", _PROOF, _UNPROVED, must=True),
    _attack("app-ask-app-as-driver", "get another application's memory as a driver", _PROOF, _UNPROVED, must=True),
    _attack("stack-ask-tx", "get another stack's memory", _RIGHTS, "not_entitled", must=True),
    _attack("stack-ask-tx-as-driver", "get another stack's memory as a driver", _PROOF, _UNPROVED, must=True),
    _attack("driver-ask-rx", "get another driver's memory", _RIGHTS, "not_entitled", must=True),
    _attack("driver-ask-rx-as-stack", "get another driver's memory as a stack", _PROOF, _UNPROVED, must=True),
    _attack("app-queue", "get a queue of the TAP device and spoof", _PROOF, _UNPROVED, must=True),
    _attack("stack-queue", "get a queue of the TAP device and spoof", _PROOF, _UNPROVED, must=True),
)

# --- descriptors and commands -----------------------------------------------------------------------------------

_CHECK: Final = "checked descriptor"
_OWNER: Final = "connection's owner"
DESCRIPTORS: Final = (
    _attack(
        "app-send-foreign", "send another application's memory", _CHECK, "foreign_partition", must=True, scene="client"
    ),
    _attack("app-send-bounds", "send what lies behind its memory", _CHECK, "out_of_bounds", scene="client"),
    _attack("app-send-stale", "send by a generation that is past", _CHECK, "stale_generation", scene="client"),
    _attack("app-send-forged", "send by a generation to come", _CHECK, "stale_generation", scene="client"),
    _attack("app-send-stranger", "send on another's connections", _OWNER, "not_the_owner", must=True, scene="client"),
    _attack("app-close-stranger", "close another's connections", _OWNER, "not_the_owner", must=True, scene="client"),
    _attack("app-abort-stranger", "reset another's connections", _OWNER, "not_the_owner", must=True, scene="client"),
    _attack("app-release-stranger", "release another's received data", _OWNER, "not_the_owner", scene="client"),
    _attack(
        "app-release-twice", "release received data twice", "count per connection", "more_than_there_is", scene="client"
    ),
    _attack(
        "app-change-after-send",
        "write a buffer anew while it is sent",
        "own connection alone",
        "contained",
        scene="change",
    ),
    _attack("app-inject", "hand the stack a frame as a driver", "role of the sender", "wrong_role", scene="client"),
    _attack("app-tx-done", "free a stack's headers as a driver", "role of the sender", "wrong_role"),
    _attack("app-release-rx", "release receive buffers as a stack", "role of the sender", "unknown_tag"),
    _attack(
        "app-listen", "listen on the other domain's port", "ports of a domain", "port_of_another_domain", must=True
    ),
    _attack("stack-tx-foreign-header", "send another stack's headers", _CHECK, "foreign_partition"),
    _attack("stack-tx-rx-payload", "send received frames of a client", _CHECK, "foreign_partition"),
    _attack("stack-tx-bounds", "send what lies behind an application's memory", _CHECK, "out_of_bounds"),
    _attack("stack-tx-stale", "send by a generation that is past", _CHECK, "stale_generation"),
    _attack(
        "stack-release-foreign", "release what another stack holds", "holder of the lease", "not_the_holder", must=True
    ),
    _attack("stack-release-twice", "release what was released", "generation of the lease", "stale_generation"),
    _attack("stack-recv-foreign", "have an application read another domain's frame", _CHECK, "foreign_partition"),
    _attack("stack-sent-excess", "acknowledge what was never sent", "count per connection", "more_than_there_is"),
    _attack("driver-rx-app", "pass an application's memory for a frame", _CHECK, "foreign_partition"),
    _attack("driver-rx-foreign", "pass another driver's buffer for its own", _CHECK, "foreign_partition"),
    _attack("driver-rx-bounds", "pass what lies behind its memory for a frame", _CHECK, "out_of_bounds"),
    _attack("driver-done-excess", "report more frames done than asked for", "count per driver", "more_than_there_is"),
    _attack("driver-listen", "listen as an application", "role of the sender", "wrong_role"),
    _attack("driver-abort", "reset connections as an application", "role of the sender", "wrong_role"),
)

# --- links ------------------------------------------------------------------------------------------------------

BREACHES: Final = (
    ("source", "name another tile as the sender", "header against link", "wrong_route"),
    ("destination", "name another tile as the receiver", "header against link", "wrong_route"),
    ("long", "send a message over 126 words", "message length", "message_too_long"),
    ("truncated", "send a message that ends early", "message length", "message_truncated"),
    ("no-queue", "send to a queue there is not", "queue number", "unknown_queue"),
    ("beyond", "send beyond its credits", "credits", "credit_exceeded"),
    ("flood", "send as much as credits allow", "credits", "stalled"),
)
_DIALLED: Final = "UNAUTHENTICATED"
LINKS: Final = (
    *(
        _attack(f"{role}-link-{name}", aim, mechanism, expects)
        for role in ("app", "stack", "driver")
        for name, aim, mechanism, expects in BREACHES
    ),
    *(
        _attack(f"{role}-{name}", aim, _PROOF, _DIALLED, must=True)
        for role in ("app", "stack", "driver")
        for name, aim in (
            ("join", f"join as another {role} tile, without a key"),
            ("join-own-key", f"join as another {role} tile, with its own key"),
        )
    ),
    _attack("app-dial-driver", "link to a driver", "peers of a role", "NOT_FOUND"),
    _attack("app-replay", "replay its recorded handshake", "fresh nonces", _DIALLED, must=True, scene="replay"),
)

# --- a process that is no tile; resources -----------------------------------------------------------------------

OUTSIDER: Final = (
    _attack("outsider-wrong-mesh", "join from another mesh", "mesh id", "FAILED_PRECONDITION"),
    _attack("outsider-stolen-id", "join as an application tile", _PROOF, _DIALLED, must=True),
    _attack("outsider-replay", "replay a tile's handshake", "fresh nonces", _DIALLED, must=True, scene="replay"),
    _attack("outsider-memory", "get an application's memory as a stack", _PROOF, _UNPROVED, must=True),
    _attack("outsider-queue", "get a queue of the TAP device and spoof", _PROOF, _UNPROVED, must=True),
    _attack("outsider-mem", "read a tile's memory by /proc/PID/mem", "not dumpable", "EACCES EPERM"),
    _attack(
        "outsider-crowd",
        "fill the handover with callers that say nothing",
        "bound on the unproved",
        "too_many_unproved",
    ),
)
RESOURCES: Final = (
    _attack(
        "app-send-endless",
        "send the same buffer over and over",
        "buffers per application",
        "more_than_there_is",
        scene="client",
    ),
    _attack("app-ask-endless", "ask and never take the answers", "bounded answers", "more_than_there_is"),
    _attack("app-flood", "send nothing but bad messages", "bounded answers", "foreign_partition", scene="client"),
    _attack("app-hoard-rx", "never release what it received", "buffers per domain", "contained", scene="hoard-rx"),
    _attack(
        "app-hoard-app", "take all of its memory for good", "memory per application", "contained", scene="hoard-app"
    ),
)

CATALOGUE: Final = (*MEMORY, *PROCESS, *READING, *CONTROL_PLANE, *ASKING, *DESCRIPTORS, *LINKS, *OUTSIDER, *RESOURCES)


def find(names: Sequence[str]) -> tuple[Attack, ...]:
    """Return the attacks of these names, all for none; UsageError for a name that is not there."""
    known = {attack.name: attack for attack in CATALOGUE}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`dlibos attack --list` has them"
            raise UsageError(f"--only {name}: no such attack; {hint}")
    return tuple(known[name] for name in names) or CATALOGUE
