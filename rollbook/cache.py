"""What a client knows of the services it subscribed to, and the rule which view is news.

Versions are compared within one session only: another node has another clock. Session numbers of one client only rise,
so a view of an older session never replaces one of a newer session.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rollbook.model import Instance, Service, View


class Snapshot(msgspec.Struct, frozen=True):
    """One service as one session last showed it; instances are sorted by key and include disabled ones.

    ``carried``: those among them that an earlier session showed and this one, its node still warming, has not yet.
    """

    service: Service
    session: int
    version: int
    instances: tuple[Instance, ...]
    warming: bool = False
    preserved: bool = False
    carried: tuple[Instance, ...] = ()
    guarded: bool = False
    stale_since_ms: int = 0
    protected: bool = False


class InstanceList(tuple[Instance, ...]):
    """What a caller gets: an immutable list of enabled instances that also says how good it is.

    ``stale``: no node confirms it at the moment, it is the last known state. ``version``: of the view, comparable
    within one ``session``. ``warming``: the cluster has just started, so there may be more. ``preserved``: the cluster
    sees too many of its nodes down to judge, so nothing was removed. ``guarded``: most of the service was behind a node
    that died, so what it published is shown one lease longer. ``stale_since_ms``: persistent instances are as they were
    then (wall clock of the node), for the node cannot follow the store that keeps them; 0: it follows. ``protected``:
    so few are healthy that all are listed as healthy. ``disabled``: what is left out, be it that its application or
    that an operator wants it so.
    """

    stale: bool
    session: int
    version: int
    warming: bool
    preserved: bool
    guarded: bool
    stale_since_ms: int
    protected: bool
    disabled: tuple[Instance, ...]

    def __new__(cls, snapshot: Snapshot, instances: Iterable[Instance], *, stale: bool) -> InstanceList:
        shown = tuple(instances)
        made = super().__new__(cls, (instance for instance in shown if instance.enabled))
        made.disabled = tuple(instance for instance in shown if not instance.enabled)
        made.stale = stale
        made.session = snapshot.session
        made.version = snapshot.version
        made.warming = snapshot.warming
        made.preserved = snapshot.preserved
        made.guarded = snapshot.guarded
        made.stale_since_ms = snapshot.stale_since_ms
        made.protected = snapshot.protected
        return made


class ViewCache:
    """The newest snapshot of each subscribed service."""

    def __init__(self) -> None:
        self._snapshots: dict[Service, Snapshot] = {}

    def get(self, service: Service) -> Snapshot | None:
        return self._snapshots.get(service)

    def forget(self, service: Service) -> None:
        self._snapshots.pop(service, None)

    def take(self, view: View, session: int, *, answer: bool) -> Snapshot | None:
        """Keep the view if it is news, and return what it became; None if it is late or repeated.

        An answer that equals what is known is no news either, but not late: the known snapshot stands for it.
        """
        known = self._snapshots.get(view.service)
        if known is not None and not _is_newer(view, session, known):
            return known if answer else None
        snapshot = snapshot_of(view, session, known)
        self._snapshots[view.service] = snapshot
        return snapshot


def snapshot_of(view: View, session: int, known: Snapshot | None = None) -> Snapshot:
    """A warming view adds and changes, but removes nothing of what was known before its session.

    The node behind it has just started with the whole cluster, so what it does not show may only be late. What it has
    shown in this session and shows no more is gone.
    """
    instances = view.instances
    carried: tuple[Instance, ...] = ()
    if view.warming and known is not None:
        shown = {instance.key for instance in view.instances}
        before = known.carried if known.session == session else known.instances
        carried = tuple(instance for instance in before if instance.key not in shown)
        instances = tuple(sorted((*view.instances, *carried), key=lambda instance: instance.key))
    return Snapshot(
        view.service,
        session,
        view.version,
        instances,
        warming=view.warming,
        preserved=view.preserved,
        carried=carried,
        guarded=view.guarded,
        stale_since_ms=view.stale_since_ms,
        protected=view.protected,
    )


def _is_newer(view: View, session: int, known: Snapshot) -> bool:
    if session != known.session:
        return session > known.session
    return view.version > known.version
