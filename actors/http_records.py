"""What all nodes say of HTTP clients: the records of each publication, by origin. Pure data; BeatKeeper owns the table.

Such a client has no session of its own: each record has a number in that place, and whoever takes a publication over
takes a higher one. So the highest number says who keeps it, by the order of views.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.messages.values import Origin, Record, RecordKey
from actors.views import rank
from rollbook.errors import InvalidField
from rollbook.model import CLIENT_ID_LENGTH_MAX, HTTP_CLIENT_SUFFIX, Service


def is_http_client(client: str) -> bool:
    return client.endswith(HTTP_CLIENT_SUFFIX)


def http_key(service: Service, ip: str, port: int) -> RecordKey:
    """The publication of this client; InvalidField if its address is too long for an id."""
    client = f"{ip}:{port}{HTTP_CLIENT_SUFFIX}"
    if len(client) > CLIENT_ID_LENGTH_MAX:
        raise InvalidField(f"ip and port are longer than {CLIENT_ID_LENGTH_MAX} characters", field="ip")
    return RecordKey(client, service)


class HttpRecords:
    def __init__(self, own: Origin) -> None:
        self._own = own
        self._held: dict[RecordKey, tuple[Record, ...]] = {}  # one of each origin; mostly it is only one

    def __iter__(self) -> Iterator[RecordKey]:
        return iter(self._held)

    def put(self, record: Record) -> None:
        others = self._held.get(record.key, ())
        self._held[record.key] = (*(other for other in others if other.origin != record.origin), record)

    def remove(self, origin: Origin, key: RecordKey) -> None:
        others = tuple(record for record in self._held.get(key, ()) if record.origin != origin)
        if others:
            self._held[key] = others
        else:
            self._held.pop(key, None)

    def best(self, key: RecordKey) -> Record | None:
        """The last word on it, a tombstone included."""
        held = self._held.get(key)
        if held is None:
            return None
        return held[0] if len(held) == 1 else max(held, key=rank)

    def native(self, key: RecordKey) -> Record | None:
        """What this node says of it in its present life."""
        return self.of(self._own, key)

    def of(self, origin: Origin, key: RecordKey) -> Record | None:
        return next((record for record in self._held.get(key, ()) if record.origin == origin), None)

    def check_invariants(self) -> None:
        for key, held in self._held.items():
            assert is_http_client(key.client), "only HTTP clients are held here"
            assert held, "what is not held has no place"
            assert len({record.origin for record in held}) == len(held), "each origin says one thing"
