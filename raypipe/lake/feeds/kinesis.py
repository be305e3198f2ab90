"""A Kinesis data stream as a log. Offsets are sequence numbers, partitions are shards."""

from collections import deque
from collections.abc import Mapping
from threading import Event
from time import monotonic
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from raypipe.contracts.streaming import Messages, Offsets
from raypipe.errors import ServiceError, SourceError

#: The most that Kinesis gives at once, and how often it may be asked a second.
AT_A_TIME = 10_000
PAUSE_SECONDS = 0.25


class KinesisLog:
    """One data stream.

    Args:
        stream: its name.
        connection: arguments of ``boto3.client``, such as ``region_name``; without, boto3's own environment.
    """

    def __init__(self, stream: str, connection: Mapping[str, str]) -> None:
        self._stream = stream
        try:
            self._client: Any = boto3.client("kinesis", **connection)
        except (BotoCoreError, ValueError) as error:
            raise ServiceError(f"the setting is refused: {error}", where="setting `kinesis`") from None
        self._waiting: dict[str, deque[tuple[int, int, bytes]]] = {}
        self._iterators: dict[str, str | None] = {}
        self._last: dict[str, int] = {}
        self._at: dict[str, int] = {}
        self._stale = True

    def identity(self) -> str:
        """The stream's ARN, and when it was made."""
        found = self._ask("describe_stream_summary", StreamName=self._stream)["StreamDescriptionSummary"]
        return f"{found['StreamARN']} of {found['StreamCreationTimestamp']:%Y-%m-%dT%H:%M:%S}"

    def read(self, after: Offsets, limit: int, seconds: float) -> Messages:
        """The next messages; see ``StreamSource``."""
        found, until = Messages(), monotonic() + seconds
        while True:
            self._fetch(after)
            for shard, waiting in self._waiting.items():
                while waiting and len(found) < limit:
                    offset, time, value = waiting.popleft()
                    found.add(shard, offset, time, value)
            if len(found) or monotonic() >= until:
                break
            Event().wait(PAUSE_SECONDS)
        self._at.update(found.last)
        return found

    def lag(self, after: Offsets) -> dict[str, int]:
        """How many messages are waiting, at least: Kinesis does not count them."""
        self._fetch(after)
        return {shard: len(waiting) for shard, waiting in self._waiting.items()}

    def done(self, until: Offsets) -> None:
        """Kinesis forgets by its own rules."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _fetch(self, after: Offsets) -> None:
        """Have something waiting from each shard that has more."""
        shards = self._shards()
        if self._stale or self._at != dict(after) or self._iterators.keys() != set(shards):
            self._at, self._stale = dict(after), False
            self._iterators = {shard: self._iterator(shard, after.get(shard)) for shard in shards}
            self._waiting = {shard: deque() for shard in shards}
            self._last = {shard: offset for shard, offset in after.items() if shard in shards}
        for shard, iterator in self._iterators.items():
            if iterator is None or self._waiting[shard]:
                continue  # a shard that was closed, or one that still has something
            answer = self._ask("get_records", ShardIterator=iterator, Limit=AT_A_TIME)
            self._iterators[shard] = answer.get("NextShardIterator")
            for record in self._unread(shard, answer["Records"]):
                time = int(record["ApproximateArrivalTimestamp"].timestamp() * 1_000_000)
                self._waiting[shard].append((int(record["SequenceNumber"]), time, record["Data"]))

    def _shards(self) -> list[str]:
        """All of them; they come a page at a time, and a page is named without the stream."""
        page = self._ask("list_shards", StreamName=self._stream)
        shards = [one["ShardId"] for one in page["Shards"]]
        while token := page.get("NextToken"):
            page = self._ask("list_shards", NextToken=token)
            shards += [one["ShardId"] for one in page["Shards"]]
        return shards

    def _unread(self, shard: str, records: list[Any]) -> list[Any]:
        """What follows the message that was taken in last, which is asked for once more.

        Numbers have gaps of their own, so only that message shows that none between it and the next was trimmed.
        """
        if not records or (last := self._last.get(shard)) is None:
            return records
        first, came = int(records[0]["SequenceNumber"]), records[0]["ApproximateArrivalTimestamp"]
        if first != last:
            what = f"message {last}, taken in last, is there no more, nor is any until {came:%Y-%m-%dT%H:%M:%S%z}"
            cure = "Let Kinesis keep them longer, and give the stream's table another name"
            raise SourceError(f"{what}: those between may be lost", where=f"kinesis {self._stream} {shard}", cure=cure)
        del self._last[shard]
        return records[1:]

    def _iterator(self, shard: str, after: int | None) -> str:
        place = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            place = {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": str(after)}
        answer = self._ask("get_shard_iterator", StreamName=self._stream, ShardId=shard, **place)
        return str(answer["ShardIterator"])

    def _ask(self, verb: str, **arguments: str | int) -> Any:  # noqa: ANN401  # boto3 has no types
        where = f"kinesis {self._stream}"
        try:
            return getattr(self._client, verb)(**arguments)
        except ClientError as error:
            code, what = error.response["Error"]["Code"], error.response["Error"]["Message"]
            if code in ("ResourceNotFoundException", "InvalidArgumentException"):
                raise SourceError(f"cannot be read: {what}", where=where, cure="Check the stream's name") from None
            if code in ("ExpiredIteratorException", "ProvisionedThroughputExceededException") and verb == "get_records":
                self._stale = True  # the next reading begins anew where the last ended
                return {"Records": []}
            raise ServiceError(f"refuses: {what}", where=where, cure="Check its rights") from None
        except BotoCoreError as error:
            cure = "Check the setting `kinesis` and the credentials"
            raise ServiceError(f"does not answer: {error}", where=where, cure=cure) from None
