"""One service as IndexManager knows it, and the group that lists it: who publishes, who subscribes, is anybody live.

Pure data; service_index.py owns every instance. An entry says itself when it is no longer sure of its view and its
liveness, and its group keeps the sorted names of what is live, so that a change costs a mark and no sorting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection

import msgspec

from actors.messages.values import Origin, Record, Route
from actors.service_news import ServiceNews
from actors.verdicts import is_verdicts_client
from actors.views import InstanceConflict
from rollbook.catalog import Subscriber
from rollbook.codec import pack
from rollbook.model import Service, View, filter_clusters

BODIES_PER_VIEW_MAX = 32  # encoded answers kept per view: one per cluster filter in use, not one per filter ever asked


class ServiceGroup:
    """The services of one (namespace, group), and the sorted list of those with a live publisher."""

    __slots__ = ("instances", "key", "live", "names", "names_changed", "news", "size", "unsettled")

    def __init__(self, key: tuple[str, str], news: ServiceNews) -> None:
        self.key = key
        self.news = news
        self.size = 0  # entries
        self.instances = 0  # listed ones, of the entries that are settled
        self.live: set[str] = set()
        self.names: list[str] = []  # sorted; as of the last listing
        self.names_changed: set[str] = set()  # whose liveness has changed since
        self.unsettled: set[ServiceEntry] = set()  # whose liveness is not known since their last change

    def forget(self, name: str) -> None:
        """The service is gone. Whoever lists next need hear of it only if it stood in the last listing."""
        place = bisect_left(self.names, name)
        if self.names[place : place + 1] != [name]:
            self.names_changed.discard(name)

    def listing(self) -> list[str]:
        """The names of live services, sorted. Costs one pass if any has changed since the last listing."""
        if self.names_changed:
            kept = [name for name in self.names if name not in self.names_changed]
            kept += self.names_changed & self.live
            kept.sort()
            self.names, self.names_changed = kept, set()
        return self.names

    def check_invariants(self, entries: Collection[ServiceEntry]) -> None:
        """``entries``: those of this group."""
        there = {entry.service.name for entry in entries}
        live = {entry.service.name for entry in entries if entry.listed}
        assert self.instances == sum(entry.listed for entry in entries), "instances are miscounted"
        assert self.size == len(entries), "groups are miscounted"
        assert self.live == live
        assert set(self.names) ^ self.names_changed >= live - self.names_changed
        assert self.names_changed <= there | set(self.names), "names of services that are gone pile up"


class ServiceEntry:
    """All that is known of one service. It lives as long as it has a record or a subscriber."""

    __slots__ = (
        "bodies",
        "clients",
        "conflicts",
        "dirty",
        "group",
        "guarded",
        "listed",
        "origins",
        "protected",
        "service",
        "settled",
        "subscribers",
        "verdicts",
        "view",
    )

    def __init__(self, service: Service, group: ServiceGroup) -> None:
        self.service = service
        self.group = group
        self.clients: dict[str, tuple[Record, ...]] = {}  # by client: one record per origin, tombstones too
        self.verdicts: dict[str, tuple[Record, ...]] = {}  # likewise, of nodes that probe; they list nothing
        self.origins: dict[Origin, int] = {}  # records of each origin in here, of both kinds
        self.subscribers: dict[Route, Subscriber | None] = {}  # None: whoever asks for others
        self.view: View | None = None  # the last one built
        self.dirty = True  # records or filter have changed since
        self.settled = False  # view or liveness was computed since the last change; one flag keeps the hot path short
        self.listed = 0  # how many instances, as of the last computation
        self.conflicts: tuple[InstanceConflict, ...] = ()  # likewise
        self.protected = False  # likewise: so few are healthy that all are shown as healthy
        self.guarded = False  # likewise: something is shown only because of the shrink guard
        self.bodies: dict[str, msgspec.Raw] = {}  # the view, encoded, by the text of the cluster filter

    def publishers(self, client: str) -> dict[str, tuple[Record, ...]]:
        """The table that this client's records stand in."""
        return self.verdicts if is_verdicts_client(client) else self.clients

    def unsettle(self) -> None:
        """Something has changed: what was computed of it may be wrong."""
        self.settled = False
        self.dirty = True
        self.group.unsettled.add(self)

    def settle(self, listed: int) -> None:
        """How many instances it lists was computed; it lives if there are any."""
        self.settled = True
        self.group.unsettled.discard(self)
        was_live, live = self.listed > 0, listed > 0
        self.group.instances += listed - self.listed
        self.listed = listed
        if live != was_live:
            self.group.names_changed.add(self.service.name)
            self.group.news.note(self.service, is_live=live)
            (self.group.live.add if live else self.group.live.discard)(self.service.name)

    def body(self, text: str, clusters: frozenset[str]) -> msgspec.Raw:
        """The newest view for one cluster filter, encoded once."""
        assert self.view is not None, "encode only what was built"
        body = self.bodies.get(text)
        if body is None:
            body = encode_view(self.view, clusters)
            if len(self.bodies) < BODIES_PER_VIEW_MAX:
                self.bodies[text] = body
        return body


def encode_view(view: View, clusters: frozenset[str]) -> msgspec.Raw:
    """The body of an answer or a push: the view, less other clusters, in its own version."""
    if clusters:
        view = msgspec.structs.replace(view, instances=filter_clusters(view.instances, clusters))
    return msgspec.Raw(pack(view))
