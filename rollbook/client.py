"""NamingClient: what an application uses. Any thread may call it; it owns no signals and never hangs.

A background thread (engine.py) keeps the session. It starts with the first call, so a client made before a fork costs
nothing and works on both sides: a child starts afresh, with its own id and nothing published.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from rollbook import process_life, wire
from rollbook.administration import Administration
from rollbook.arguments import (
    Clusters,
    checked_clusters,
    checked_count,
    checked_instances,
    checked_metadata,
    checked_persistent,
    checked_text,
    checked_timeout,
    checked_types,
    checked_wait,
)
from rollbook.cache import InstanceList, Snapshot
from rollbook.choice import usable, weighted_choice
from rollbook.dispatcher import Callback, Dispatcher
from rollbook.durable_bodies import PublishPersistent, WithdrawPersistent
from rollbook.engine import Engine
from rollbook.errors import ClientClosed, ClusterUnreachable, InvalidField, Refused, RollbookError
from rollbook.model import (
    APP_LENGTH_MAX,
    DEFAULT_CLUSTER,
    DEFAULT_GROUP,
    DEFAULT_NAMESPACE,
    Instance,
    Service,
    check_client_id,
    check_instance,
    check_service,
    filter_clusters,
)
from rollbook.orders import CallBody, Deliver, Ended, Forget, SessionsChanged
from rollbook.servers import check_server
from rollbook.session import ClientSession
from rollbook.status import NodeStatus
from rollbook.wire import GetStatus, ListServices, Ping, Publish, Query, Subscribe, Unsubscribe, Wait, Withdraw

CLOSE_TIMEOUT_S_MAX = 1.5  # a dead cluster holds up the end of a process for no longer
LISTS_MAX = 10_000  # answers kept ready, per service and cluster filter; made anew when over
AGENT = "rollbook-python"


class ServicePage(NamedTuple):
    """One page of the names of a group's services, and how many there are in all."""

    total: int
    names: tuple[str, ...]


class NamingClient:
    """Registers instances, finds them, and tells when they change.

    Every call raises a RollbookError after ``timeout`` seconds at the latest: ClusterUnreachable, NotConfirmed,
    Refused, InvalidField, ClientIdInUse or ClientClosed; about what is persistent also OutcomeUnknown. What a call has
    asked for stays so when its time is over: a registration is made, a withdrawal carried out and a subscription served
    as soon as a node can be reached. Only orders about what is persistent end with their call.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        namespace: str = DEFAULT_NAMESPACE,
        app: str = "",
        client_id: str | None = None,
        timeout: float = 3.0,
    ) -> None:
        parts = servers.split(",") if isinstance(servers, str) else servers
        self._servers = tuple(check_server(checked_text("servers", server).strip()) for server in parts)
        if not self._servers:
            raise InvalidField("servers must name at least one host:port", field="servers")
        if len(checked_text("app", app)) > APP_LENGTH_MAX:
            raise InvalidField(f"app is longer than {APP_LENGTH_MAX} characters", field="app")
        check_service(Service(checked_text("namespace", namespace), DEFAULT_GROUP, "any"))
        self._namespace = namespace
        self._app = app
        self._timeout = checked_timeout(timeout)
        self._closed = False
        self._begin(_new_client_id() if client_id is None else check_client_id(checked_text("client_id", client_id)))
        process_life.joined(self)

    def _begin(self, client_id: str) -> None:
        """A life starts: at construction, and in a forked child."""
        self._client_id = client_id
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._dispatcher = Dispatcher()
        self._chance = random.Random()
        self._ended: RollbookError | None = None
        self._sessions: frozenset[int] = frozenset()
        self._server = ""
        self._snapshots: dict[Service, Snapshot] = {}
        self._lists: dict[tuple[Service, frozenset[str]], tuple[Snapshot, bool, InstanceList]] = {}
        self._subscribed: dict[Service, bool] = {}  # whether get_all_instances wants it, apart from callbacks

    @property
    def client_id(self) -> str:
        return self._client_id

    @property
    def server(self) -> str:
        """The node that serves the session now; empty while there is none."""
        return self._server

    @property
    def admin(self) -> Administration:
        """Settings of services, intents about instances, namespaces."""
        return Administration(self._call, self._namespace)

    def __enter__(self) -> NamingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Publishing

    def register_instance(
        self,
        service: str,
        ip: str,
        port: int,
        *,
        group: str = DEFAULT_GROUP,
        cluster: str = DEFAULT_CLUSTER,
        weight: float = 1.0,
        healthy: bool = True,
        enabled: bool = True,
        metadata: Mapping[str, str] | None = None,
        ephemeral: bool = True,
        wait: Wait = "node",
    ) -> None:
        """List this instance, beside those that this client lists for the service already.

        The same (ip, port, cluster) again takes the place of the earlier one. With ``wait="cluster"`` the call returns
        when every living node has it, and raises NotConfirmed naming those that have not in time; with
        ``wait="subscribers"`` when every subscriber on each of them has acknowledged it.

        With ``ephemeral=False`` it belongs to the registry and not to this client: the call returns once it is on disk
        and listed, and it stays until somebody deregisters it. All instances of a service are of one kind.
        """
        instance = Instance(ip, port, cluster, weight, healthy, enabled, ephemeral, checked_metadata(metadata))
        self.register_instances(service, [instance], group=group, wait=wait)

    def register_instances(
        self, service: str, instances: Iterable[Instance], *, group: str = DEFAULT_GROUP, wait: Wait = "node"
    ) -> None:
        """List all of these, which are of one kind, in one step."""
        checked, name = checked_instances(instances), self._service(service, group)
        if checked[0].ephemeral:
            self._call(Publish(name, checked, wait=checked_wait(wait)))
        else:
            checked_persistent(len(checked), wait)
            self._call(PublishPersistent(name, checked))

    def deregister_instance(
        self,
        service: str,
        ip: str,
        port: int,
        *,
        group: str = DEFAULT_GROUP,
        cluster: str = DEFAULT_CLUSTER,
        ephemeral: bool = True,
        wait: Wait = "node",
    ) -> None:
        """Take one instance of this client out of the list; with ``ephemeral=False`` a persistent one, of whomever.

        With ``wait="subscribers"`` the call returns when every subscriber on every living node has acknowledged a list
        without it: the process may end now without a caller noticing. If that takes too long NotConfirmed names the
        nodes and, as ``client_id@node``, subscribers that have not; the instance is out of the list all the same.
        """
        key, name = check_instance(checked_types(Instance(ip, port, cluster))).key, self._service(service, group)
        if ephemeral:
            self._call(Withdraw(name, (key,), wait=checked_wait(wait)))
        else:
            checked_persistent(1, wait)
            self._call(WithdrawPersistent(name, (key,)))

    # Finding

    def get_all_instances(
        self, service: str, *, group: str = DEFAULT_GROUP, clusters: Clusters = None, subscribe: bool = True
    ) -> InstanceList:
        """All enabled instances. With ``subscribe`` the first call subscribes and later ones answer from the cache,
        which pushes keep up to date; with every node down the last known list is given, its ``stale`` set."""
        name, chosen = self._service(service, group), checked_clusters(clusters)
        if not subscribe:
            snapshot = self._call(Query(name, ",".join(sorted(chosen))))
            return InstanceList(snapshot, filter_clusters(snapshot.instances, chosen), stale=False)
        with self._lock:
            self._check_open()
            known = self._snapshots.get(name)
            self._subscribed[name] = True
        if known is None:
            known = self._call(Subscribe(name))
        return self._list(known, chosen)

    def select_instances(
        self,
        service: str,
        *,
        group: str = DEFAULT_GROUP,
        clusters: Clusters = None,
        healthy: bool = True,
        subscribe: bool = True,
    ) -> list[Instance]:
        """Those with this health that may receive traffic: enabled, and with a weight above 0."""
        return list(
            usable(
                self.get_all_instances(service, group=group, clusters=clusters, subscribe=subscribe), healthy=healthy
            )
        )

    def select_one_healthy_instance(
        self, service: str, *, group: str = DEFAULT_GROUP, clusters: Clusters = None, subscribe: bool = True
    ) -> Instance:
        """One of the healthy instances, each as likely as its weight says; NoHealthyInstance if there is none."""
        instances = self.get_all_instances(service, group=group, clusters=clusters, subscribe=subscribe)
        return weighted_choice(self._service(service, group), instances, self._chance)

    def get_services(self, page: int = 1, size: int = 100, *, group: str = DEFAULT_GROUP) -> ServicePage:
        """The names of the group's services that have an instance, sorted; pages count from 1."""
        checked_count("page", page, wire.NUMBER_MAX)
        checked_count("size", size, wire.PAGE_SIZE_MAX)
        self._service("any", group)
        services = self._call(ListServices(self._namespace, group, page, size))
        return ServicePage(services.total, services.names)

    # Watching

    def subscribe(
        self, service: str, callback: Callback, *, group: str = DEFAULT_GROUP, clusters: Clusters = None
    ) -> None:
        """Call ``callback(instances, difference)`` now with all there is as added, and after every change.

        Callbacks of one client run one after the other on a thread of their own; they may call this client. Changes
        that come while one runs are told as one. The same callback with the same clusters counts once.
        """
        if not callable(callback):
            raise InvalidField("callback must be callable", field="callback")
        name, chosen = self._service(service, group), checked_clusters(clusters)
        with self._lock:
            self._check_open()
            self._subscribed.setdefault(name, False)
            self._dispatcher.add(name, callback, chosen)
            is_known = name in self._snapshots
        if not is_known:
            self._call(Subscribe(name))

    def unsubscribe(
        self,
        service: str,
        callback: Callback | None = None,
        *,
        group: str = DEFAULT_GROUP,
        clusters: Clusters = None,
    ) -> None:
        """Do not call it again. Without a callback: end everything that keeps this service in the cache."""
        name, chosen = self._service(service, group), checked_clusters(clusters)
        with self._lock:
            nobody_left = self._dispatcher.remove(name, callback, chosen)
            is_over = name in self._subscribed and nobody_left and (callback is None or not self._subscribed[name])
            if is_over:
                del self._subscribed[name]
        if is_over:
            self._call(Unsubscribe(name))

    def get_subscribed_services(self) -> list[Service]:
        """What this client keeps in its cache."""
        with self._lock:
            return sorted(self._subscribed)

    # The cluster

    def get_server_status(self) -> Literal["UP", "DOWN"]:
        """UP if a node answers this client now."""
        try:
            self._call(Ping())
        except (ClusterUnreachable, Refused):
            return "DOWN"
        return "UP"

    def get_node_status(self) -> NodeStatus:
        """What the node that serves this client says of itself and its members."""
        status: NodeStatus = self._call(GetStatus())
        return status

    def close(self) -> None:
        """Withdraw everything and end. Bounded, and harmless when repeated."""
        with self._lock:
            engine, self._engine, self._closed = self._engine, None, True
        if engine is not None:
            engine.close(min(self._timeout, CLOSE_TIMEOUT_S_MAX))
        self._dispatcher.close(min(self._timeout, CLOSE_TIMEOUT_S_MAX))
        process_life.left(self)

    # Inside

    def _call(self, body: CallBody) -> Any:
        with self._lock:
            self._check_open()
            if self._engine is None:
                self._engine = self._started_engine()
            engine = self._engine
        return engine.call(body, self._timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")
        if self._ended is not None:
            raise type(self._ended)(self._ended.message)

    def _started_engine(self) -> Engine:
        chance = random.Random(secrets.randbits(64))
        engine = Engine(
            ClientSession(self._client_id, self._servers, chance, app=self._app, agent=AGENT), self._on_news
        )
        engine.start()
        return engine

    def _on_news(self, news: Deliver | Forget | SessionsChanged | Ended) -> None:
        """From the engine's thread. Single assignments, so readers need no lock."""
        match news:
            case Deliver():
                self._snapshots[news.snapshot.service] = news.snapshot
                self._dispatcher.offer(news.snapshot)
            case Forget():
                self._snapshots.pop(news.service, None)
                self._dispatcher.forget(news.service)
            case SessionsChanged():
                self._sessions, self._server = news.live, news.server
            case Ended():
                self._ended = news.error

    def _list(self, snapshot: Snapshot, clusters: frozenset[str]) -> InstanceList:
        """Made once per snapshot and filter: callers ask far more often than anything changes."""
        stale = snapshot.session not in self._sessions
        made = self._lists.get((snapshot.service, clusters))
        if made is not None and made[0] is snapshot and made[1] is stale:
            return made[2]
        instances = InstanceList(snapshot, filter_clusters(snapshot.instances, clusters), stale=stale)
        if len(self._lists) >= LISTS_MAX:
            self._lists.clear()
        self._lists[snapshot.service, clusters] = (snapshot, stale, instances)
        return instances

    def _service(self, name: str, group: str) -> Service:
        return check_service(Service(self._namespace, checked_text("group", group), checked_text("service", name)))

    def _begin_in_child(self) -> None:
        if self._engine is not None:
            process_life.keep_inherited(self._engine)
        self._begin(_new_client_id())


def _new_client_id() -> str:
    return secrets.token_hex(16)
