"""Verdicts on the health of persistent instances, as records carry them and as views show them. Pure rules.

A node says what it has found in records of its own, one per service and shard, whose client is no client, and whose
instances are never listed: they only say which of the stored ones are healthy. Their session is the node's epoch, so
what a newer life of it says supersedes the older one's as a newer session of a client would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from actors.messages.health import HealthJudged
from actors.messages.values import Record, RecordKey
from actors.views import Filter, live_winner, rank
from rollbook.model import VERDICTS_CLIENT_PREFIX, Instance, InstanceKey, Service, instance_key
from rollbook.wire import INSTANCES_PER_RECORD_MAX, RECORD_BYTES_MAX

SHARDS = 16  # per node and service: a flip is one small record, and a large service still fits
_FIXED_BYTES = 32  # of an instance without metadata, beside its texts, with room
_RECORD_ROOM_BYTES = 8_192  # for what stands around the instances

Verdict = tuple[InstanceKey, bool]
ClientRecords = Iterable[tuple[Record, ...]]


def verdicts_key(node_id: str, shard: int, service: Service) -> RecordKey:
    return RecordKey(f"{VERDICTS_CLIENT_PREFIX}{node_id}/{shard}", service)


def is_verdicts_client(client: str) -> bool:
    return client.startswith(VERDICTS_CLIENT_PREFIX)


def shard_of(identity: int) -> int:
    return identity % SHARDS


def verdict_instances(verdicts: Iterable[Verdict]) -> tuple[Instance, ...]:
    """What a record says: the health of these keys, and nothing else of them."""
    return tuple(Instance(*key, healthy=healthy, ephemeral=False) for key, healthy in verdicts)


def judged_publications(
    node_id: str, judged: HealthJudged, known: Mapping[RecordKey, Record]
) -> Iterator[tuple[RecordKey, tuple[Instance, ...]]]:
    """What has to be published so that the records say this; what they say already takes no version."""
    for shard, service, verdicts in judged.lists:
        key, instances = verdicts_key(node_id, shard, service), verdict_instances(verdicts)
        if instances != (known[key].instances if key in known else ()):
            yield key, instances


def fitting(verdicts: Mapping[InstanceKey, bool], stored: Mapping[InstanceKey, bool]) -> tuple[Verdict, ...]:
    """As many as one record holds, in order of key. What agrees with the stored health has to stand back."""
    chosen: list[InstanceKey] = []
    room_bytes = RECORD_BYTES_MAX - _RECORD_ROOM_BYTES
    for key in sorted(verdicts, key=lambda key: (verdicts[key] == stored[key], key)):
        room_bytes -= _FIXED_BYTES + len(key.ip.encode()) + len(key.cluster.encode())
        if room_bytes < 0 or len(chosen) == INSTANCES_PER_RECORD_MAX:
            break
        chosen.append(key)
    return tuple((key, verdicts[key]) for key in sorted(chosen))


def verdicts_in_force(clients: ClientRecords, hidden: Filter) -> dict[tuple[str, int, str], bool]:
    """What living nodes say; of several verdicts on one key the newest."""
    return _newest(winner for records in clients if (winner := live_winner(records, hidden)) is not None)


def last_verdicts(clients: ClientRecords) -> dict[tuple[str, int, str], bool]:
    """The same, whether or not a node still counts: whoever takes over from it goes on from there."""
    return _newest(max(records, key=rank) for records in clients)


def overlaid(instances: tuple[Instance, ...], verdicts: Mapping[tuple[str, int, str], bool]) -> tuple[Instance, ...]:
    """The list with the health that was found. Ephemeral instances are none of a prober's business."""
    return tuple(
        instance
        if instance.ephemeral or verdicts.get(instance_key(instance), instance.healthy) == instance.healthy
        else msgspec.structs.replace(instance, healthy=not instance.healthy)
        for instance in instances
    )


def _newest(winners: Iterable[Record]) -> dict[tuple[str, int, str], bool]:
    chosen: dict[tuple[str, int, str], tuple[int, str, bool]] = {}
    for record in winners:
        for instance in record.instances:
            key = instance_key(instance)
            word = (record.stamp, record.key.client, instance.healthy)
            if key not in chosen or chosen[key] < word:
                chosen[key] = word
    return {key: healthy for key, (_, _, healthy) in chosen.items()}
