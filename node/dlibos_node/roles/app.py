"""The application tile: an application on the asynchronous socket interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dlibos_node.noc import tags
from dlibos_node.noc.faults import Faults
from dlibos_node.noc.peer import Peer
from dlibos_node.noc.queues import Queues
from dlibos_node.roles.dispatch import Dispatch
from dlibos_node.sockets.layer import Sockets


class App:
    """One application tile."""

    def __init__(
        self,
        sockets: Sockets,
        queues: Queues,
        stacks: Iterable[Peer],
        faults: Faults,
        flush: Callable[[], None],
        *,
        protected: bool,
    ) -> None:
        self.sockets = sockets
        self._flush = flush
        self._retiring = False
        table = {
            tags.LISTENING: (sockets.on_listening, 2),
            tags.CONNECTED: (sockets.on_connected, 2),
            tags.RECV: (sockets.on_recv, 3),
            tags.SENT: (sockets.on_sent, 2),
            tags.PEER_CLOSED: (sockets.on_peer_closed, 1),
            tags.DEAD: (sockets.on_dead, 2),
            tags.MOVING: (sockets.moves.on_moving, 2),
            tags.MOVED: (sockets.moves.on_moved, 2),
        }
        self.dispatch = Dispatch(queues, {"stack": table}, stacks, faults, protected=protected)

    def drain(self) -> None:
        """Let the application act on what happened."""
        self.dispatch.run(0)
        self.sockets.offer_room()
        self.flush()

    def flush(self) -> None:
        """Send what the application did, here or in a timer."""
        self.sockets.flush()
        self._flush()

    def changed(self, peer: Peer) -> None:
        """A stack tile came or went."""
        if peer.up:
            self.sockets.attach(peer)
        else:
            self.sockets.detach(peer.number)
        self.flush()

    def admit(self, peer: Peer) -> None:
        """A stack tile has joined the mesh."""
        self.dispatch.admit(peer)
        self.sockets.admit(peer)

    def dismiss(self, peer: Peer) -> None:
        """It has left."""
        self.dispatch.dismiss(peer)
        self.sockets.dismiss(peer.number)

    def assign(self, owners: bytes) -> None:
        """Buckets are the stack tiles' affair."""

    def retire(self) -> None:
        """Take nothing new."""
        self._retiring = True

    @property
    def retired(self) -> bool:
        """Whether nothing is left."""
        return False

    def close(self) -> None:
        """Nothing outlives the process."""
