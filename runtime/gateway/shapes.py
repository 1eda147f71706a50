"""Lists and instances as Nacos' SDKs expect them in JSON, whichever way they ask.

Pure. Fields that are empty are written, none is null, integers are integers: the parsers of the SDKs differ in what
they forgive, and this satisfies the strictest of each.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rollbook.model import (
    DELETE_TIMEOUT_KEY,
    HEARTBEAT_INTERVAL_KEY,
    HEARTBEAT_TIMEOUT_KEY,
    Instance,
    Service,
    View,
    clusters_of,
    filter_clusters,
    preserved_ms,
)

CACHE_MS = 10_000  # how long SDKs that poll may wait
ID_GENERATOR_KEY = "preserved.instance.id.generator"
_CLOCK_COUNTER_BITS = 16  # a view's version is a wall clock in milliseconds, and a counter below it


class InstanceShape(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of ``hosts``. ``service_name`` is the grouped name; the last four are what its metadata say."""

    instance_id: str
    ip: str
    port: int
    weight: float
    healthy: bool
    enabled: bool
    ephemeral: bool
    cluster_name: str
    service_name: str
    metadata: dict[str, str]
    instance_heart_beat_interval: int
    instance_heart_beat_time_out: int
    ip_delete_timeout: int
    instance_id_generator: str


class ServiceShape(msgspec.Struct, frozen=True, rename="camel"):
    """The list of one service. ``clusters`` is the filter as it was asked, letter by letter: SDKs keep lists by it.

    Two generations of SDKs read ``allIPs`` in two spellings.
    """

    name: str
    group_name: str
    clusters: str
    cache_millis: int
    hosts: tuple[InstanceShape, ...]
    last_ref_time: int
    reach_protection_threshold: bool
    checksum: str = ""
    all_ips: bool = False
    all_ips_of_old: bool = msgspec.field(default=False, name="allIPs")
    valid: bool = True


class RefTimes:
    """``lastRefTime`` of lists, in milliseconds: it rises with every newer view, however close in time they are.

    SDKs drop a list that is not newer than theirs, also after they have moved to another node. Versions of views are
    clocks, so those of different nodes are nearly comparable. One for each gateway; bounded by the services it lists.
    """

    def __init__(self, services_max: int) -> None:
        self._services_max = services_max
        self._last: dict[Service, tuple[int, int]] = {}  # the version, and what it was called

    def __len__(self) -> int:
        return len(self._last)

    def of(self, view: View) -> int:
        version, told = self._last.pop(view.service, (0, 0))
        if view.version > version:
            version, told = view.version, max(told + 1, view.version >> _CLOCK_COUNTER_BITS)
        self._last[view.service] = (version, told)
        if len(self._last) > self._services_max:
            del self._last[next(iter(self._last))]  # the one not listed for the longest time
        return told


def instance_shape(service: Service, instance: Instance, *, healthy: bool | None = None) -> InstanceShape:
    """``healthy`` shows it in the place of the instance's own health."""
    grouped, metadata = service.grouped_name, instance.metadata
    return InstanceShape(
        instance_id=f"{instance.ip}#{instance.port}#{instance.cluster}#{grouped}",
        ip=instance.ip,
        port=instance.port,
        weight=instance.weight,
        healthy=instance.healthy if healthy is None else healthy,
        enabled=instance.enabled,
        ephemeral=instance.ephemeral,
        cluster_name=instance.cluster,
        service_name=grouped,
        metadata=metadata,
        instance_heart_beat_interval=preserved_ms(metadata, HEARTBEAT_INTERVAL_KEY),
        instance_heart_beat_time_out=preserved_ms(metadata, HEARTBEAT_TIMEOUT_KEY),
        ip_delete_timeout=preserved_ms(metadata, DELETE_TIMEOUT_KEY),
        instance_id_generator=metadata.get(ID_GENERATOR_KEY, "simple"),
    )


def service_shape(
    view: View, clusters: str, ref_time: int, *, healthy_only: bool = False, is_grouped: bool = False
) -> ServiceShape:
    """What callers are given: enabled instances of these clusters. ``is_grouped``: HTTP says ``group@@name``.

    A protected view says healthy of all by itself. InvalidField if the filter breaks the name rules.
    """
    service = view.service
    shown = _callable(filter_clusters(view.instances, clusters_of(clusters)), healthy_only=healthy_only)
    return ServiceShape(
        name=service.grouped_name if is_grouped else service.name,
        group_name=service.group,
        clusters=clusters,
        cache_millis=CACHE_MS,
        hosts=tuple(instance_shape(service, instance) for instance in shown),
        last_ref_time=ref_time,
        reach_protection_threshold=view.protected,
    )


def _callable(instances: Iterable[Instance], *, healthy_only: bool) -> list[Instance]:
    return [one for one in instances if one.enabled and (one.healthy or not healthy_only)]
