"""A Pub/Sub subscription as a log. It has no offsets: what is kept is acknowledged, what is not comes again.

A message that comes again after a kill is the same row, so its id counts once; its number is the message's own.
"""

from typing import Any

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, NotFound, PermissionDenied
from google.auth.exceptions import GoogleAuthError
from google.cloud import pubsub_v1

from raypipe.contracts.streaming import Messages, Offsets
from raypipe.errors import ServiceError, SourceError

AT_A_TIME = 1_000
PARTITION = "0"


class PubSubLog:
    """One subscription.

    Args:
        subscription: its full name, ``projects/P/subscriptions/S``.
    """

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        try:
            self._client: Any = pubsub_v1.SubscriberClient()
        except GoogleAuthError as error:
            cure = "Set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
            raise ServiceError(f"no credentials: {error}", where=f"pubsub {subscription}", cure=cure) from None
        self._waiting: list[Any] = []
        self._handed_out: list[str] = []

    def identity(self) -> str:
        """The subscription's full name."""
        return self._subscription

    def read(self, after: Offsets, limit: int, seconds: float) -> Messages:  # it has no offsets
        """The next messages; see ``StreamSource``. Those that were not acknowledged come again some time."""
        self._fetch(seconds)
        found, taken = Messages(), self._waiting[:limit]
        for one in taken:
            time = int(one.message.publish_time.timestamp() * 1_000_000)
            found.add(PARTITION, int(one.message.message_id), time, one.message.data)
        self._handed_out += [one.ack_id for one in taken]
        self._waiting = self._waiting[limit:]
        return found

    def lag(self, after: Offsets) -> dict[str, int]:  # it has no offsets
        """How many messages are waiting, at least: Pub/Sub does not count them."""
        self._fetch(1.0)
        return {PARTITION: len(self._waiting)}

    def done(self, until: Offsets) -> None:  # it has no offsets
        """Acknowledge what was read."""
        for start in range(0, len(self._handed_out), AT_A_TIME):
            some = self._handed_out[start : start + AT_A_TIME]
            self._ask("acknowledge", {"subscription": self._subscription, "ack_ids": some})
        self._handed_out = []

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _fetch(self, seconds: float) -> None:
        if self._waiting:
            return
        wanted = {"subscription": self._subscription, "max_messages": AT_A_TIME}
        answer = self._ask("pull", wanted, timeout=max(seconds, 1.0))
        self._waiting = [] if answer is None else list(answer.received_messages)

    def _ask(self, verb: str, request: dict[str, Any], **more: float) -> Any:  # noqa: ANN401  # whatever it answers
        where = f"pubsub {self._subscription}"
        try:
            return getattr(self._client, verb)(request=request, **more)
        except DeadlineExceeded:
            return None  # nothing came
        except (NotFound, PermissionDenied) as error:
            raise SourceError(f"cannot be read: {error.message}", where=where, cure="Check its name") from None
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise ServiceError(f"does not answer: {error}", where=where) from None
