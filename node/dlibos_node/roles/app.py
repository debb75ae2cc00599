"""The application tile: an application on the asynchronous socket interface."""

from __future__ import annotations

from collections.abc import Callable, Collection

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
        stacks: Collection[Peer],
        faults: Faults,
        flush: Callable[[], None],
        *,
        protected: bool,
    ) -> None:
        self.sockets = sockets
        self._flush = flush
        self._stacks = {peer.number: peer for peer in stacks}
        self._opened = False
        table = {
            tags.LISTENING: (sockets.on_listening, 2),
            tags.CONNECTED: (sockets.on_connected, 2),
            tags.RECV: (sockets.on_recv, 3),
            tags.SENT: (sockets.on_sent, 2),
            tags.PEER_CLOSED: (sockets.on_peer_closed, 1),
            tags.DEAD: (sockets.on_dead, 2),
            tags.UNLISTENED: (sockets.on_unlistened, 1),
            tags.KEPT: (sockets.on_kept, 2),
            tags.MOVING: (sockets.moves.on_moving, 2),
            tags.MOVED: (sockets.moves.on_moved, 2),
        }
        self.dispatch = Dispatch(queues, {"stack": table}, stacks, faults, protected=protected)

    def open(self) -> None:
        """Listen at the stack tiles whose links are up, and at others when theirs come up."""
        self._opened = True
        for peer in self._stacks.values():
            if peer.up:
                self.sockets.attach(peer)

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
        if not peer.up:
            self.sockets.detach(peer.number)
        elif self._opened:
            self.sockets.attach(peer)
        self.flush()

    def admit(self, peer: Peer) -> None:
        """A stack tile has joined the mesh."""
        self.dispatch.admit(peer)
        self._stacks[peer.number] = peer
        self.sockets.admit(peer)

    def dismiss(self, peer: Peer) -> None:
        """It has left."""
        self.dispatch.dismiss(peer)
        self._stacks.pop(peer.number, None)
        self.sockets.dismiss(peer.number)

    def assign(self, owners: bytes) -> None:
        """Buckets are the stack tiles' affair."""

    def retire(self) -> None:
        """Take no new connections; hand over those there are, or end them when their clients have been answered."""
        self.sockets.retire()
        self.flush()

    @property
    def retired(self) -> bool:
        """Whether no connection is left, nor one on its way here."""
        return self.sockets.retired

    def close(self) -> None:
        """Nothing outlives the process."""
