"""amqtt's broker, made safe for clients that are not to be trusted.

What is overridden is named with its reason; each has a test, for these are methods that amqtt does not promise to keep.
All clients have clean sessions and client ids of their own (admission.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

LISTENER: Final = "default"
REFUSED: Final = 0x80  # MQTT 3.1.1 section 3.9.3

Right = Callable[[str, str], bool]
"""Whether a user may do something with a topic."""


class Admitted(BaseAuthPlugin):
    """Lets everybody in: who came this far was admitted (admission.py)."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Return True."""
        del session
        return True


class RightsBroker(Broker):
    """A broker that listens nowhere itself and asks `may_read` and `may_write` about every message."""

    def __init__(self, may_read: Right, may_write: Right) -> None:
        super().__init__(
            BrokerConfig(
                listeners={LISTENER: ListenerConfig(type=ListenerType.EXTERNAL)},
                plugins={f"{__name__}.{Admitted.__name__}": {}},
            )
        )
        # What it says is for its makers, and of some of it a client decides how often it is said.
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self._may_read = may_read
        self._may_write = may_write

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        """As a topic plugin would, but at once: a plugin is a task, and while the broker waits for it in the middle of
        a broadcast, a new subscription would break off the loop and lose the message for the other subscribers.
        """
        right = self._may_write if action is Action.PUBLISH else self._may_read
        return right(session.username or "", topic)

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Grant QoS 0: a stream socket loses nothing while it is up, and a client that never acknowledges would have
        the broker keep all messages of all clients while it waits.
        """
        granted: int = await super().add_subscription((subscription[0], 0), session)
        return granted

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only for the session's own subscriptions: amqtt sends a new session what any other one has asked for."""
        if any(known is session for known, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription((subscription[0], 0), session)
