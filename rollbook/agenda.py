"""What a client wants and what it waits for, whichever connection serves it.

Owns: publications (redo.py), subscriptions and their snapshots (cache.py), calls in progress. Gives the session the
requests to send, takes the answers, and says what callers and subscribers are to be told.

A call is an order that survives any number of connections until its deadline: when a session opens, calls that publish,
withdraw or subscribe ride on the redo of their service, all others are asked again. All orders are idempotent. An order
about durable data belongs to no session: nothing is redone for it, and once it was sent nobody knows what became of it
until an answer comes. A refusal of its repetition is none of its first attempt, which may be what it is refused for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, NamedTuple

from rollbook.cache import ViewCache, snapshot_of
from rollbook.catalog import (
    Catalog,
    CountServices,
    FindServices,
    ListCatalog,
    ListSubscribers,
    ServicesCounted,
    ServicesFound,
    Subscribers,
)
from rollbook.durable_bodies import (
    ClearIntent,
    DeleteNamespace,
    DeleteService,
    GetService,
    ListNamespaces,
    Namespaces,
    PublishPersistent,
    PutNamespace,
    PutService,
    ServiceShown,
    SetHealth,
    SetIntent,
    WithdrawPersistent,
)
from rollbook.errors import (
    Code,
    InvalidField,
    NotConfirmed,
    OutcomeUnknown,
    Refused,
    RemoteProtocolError,
    RollbookError,
)
from rollbook.http_clients import Beaten, Beats, HttpPatch, HttpPublish, HttpWithdraw
from rollbook.kept_rows import DurablePage, ReadDurable, RestoreRows
from rollbook.known_clients import (
    ClientShown,
    ClientsListed,
    GetClient,
    ListClients,
    ListPublications,
    ListPublishers,
    ListSubscriptions,
    PublicationsListed,
    PublishersListed,
    SubscriptionsListed,
)
from rollbook.link import Request
from rollbook.model import Service, View
from rollbook.orders import Action, CallBody, Called, Deliver, DurableBody, Forget, Reject, Report, Resolve
from rollbook.redo import Change, Publications
from rollbook.status import NodeStatus
from rollbook.wire import (
    Done,
    Failed,
    GetStatus,
    ListServices,
    Ping,
    Pong,
    Publish,
    Query,
    Services,
    SetLogLevel,
    Subscribe,
    Unsubscribe,
    Withdraw,
)

ANSWER_OF: dict[type[Any], type[Any]] = {
    Publish: Done,
    Withdraw: Done,
    PublishPersistent: Done,
    WithdrawPersistent: Done,
    PutService: Done,
    DeleteService: Done,
    PutNamespace: Done,
    DeleteNamespace: Done,
    SetIntent: Done,
    SetHealth: Done,
    ClearIntent: Done,
    RestoreRows: Done,
    HttpPublish: Done,
    HttpWithdraw: Done,
    HttpPatch: Done,
    Beats: Beaten,
    Unsubscribe: Done,
    Query: View,
    Subscribe: View,
    ListServices: Services,
    FindServices: ServicesFound,
    ListCatalog: Catalog,
    CountServices: ServicesCounted,
    ListSubscribers: Subscribers,
    ListClients: ClientsListed,
    GetClient: ClientShown,
    ListPublications: PublicationsListed,
    ListSubscriptions: SubscriptionsListed,
    ListPublishers: PublishersListed,
    SetLogLevel: Done,
    GetService: ServiceShown,
    ListNamespaces: Namespaces,
    ReadDurable: DurablePage,
    GetStatus: NodeStatus,
    Ping: Pong,
}


WANTED_ALWAYS = (Publish, Withdraw, Subscribe, Unsubscribe)  # by the client, whether or not a caller still waits


class _Call(NamedTuple):
    body: CallBody
    deadline_ms: int
    change: Change | None


class Agenda:
    """See the module. It appends what callers are to be told to ``actions``, which it shares with its session."""

    def __init__(self, actions: list[Action], calls_max: int) -> None:
        self._actions = actions
        self._calls_max = calls_max
        self._publications = Publications()
        self._published = False
        self._subscriptions: dict[Service, None] = {}
        self._cache = ViewCache()
        self._calls: dict[int, _Call] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._doubtful: set[int] = set()  # calls about durable data that were sent
        self._repeated: set[int] = set()  # of these, what was said again without a word on the first attempt

    @property
    def leaves_traces(self) -> bool:
        """Whether a node may hold something that this client published."""
        return self._published and len(self._publications) > 0

    @property
    def deadline_ms(self) -> int | None:
        return self._deadlines[0][0] if self._deadlines else None

    def deadline_of(self, request: Request) -> int | None:
        """The earliest deadline among the callers of this request; None if nobody waits for it."""
        return min((self._calls[call].deadline_ms for call in request.calls if call in self._calls), default=None)

    def take(self, called: Called, *, connected: bool) -> Request | None:
        """Note the order; return what to send for it now. Without a session the next one will bring it."""
        if len(self._calls) >= self._calls_max:
            text = f"this client has {self._calls_max} calls in progress already"
            self._reject(called.call, Refused(text, code=Code.OVER_LIMIT))
            return None
        try:
            change = self._intend(called.body)
        except InvalidField as error:
            self._reject(called.call, error)
            return None
        self._calls[called.call] = _Call(called.body, called.deadline_ms, change)
        heapq.heappush(self._deadlines, (called.deadline_ms, called.call))
        if isinstance(called.body, Unsubscribe) and not connected:
            self._resolve([called.call], Done())  # The next session will not subscribe.
            return None
        return Request(called.body, [called.call], change=0 if change is None else change.number)

    def redo(self) -> list[Request]:
        """Everything that a new session needs, in order: publications, subscriptions, then the other calls."""
        riders: dict[tuple[type[Any], Service], list[int]] = {}
        rest: list[Request] = []
        self._repeated |= self._doubtful
        for call, (body, _, _) in sorted(self._calls.items()):
            if isinstance(body, Unsubscribe):
                self._resolve([call], Done())
            elif isinstance(body, Publish | Withdraw) and body.wait != "node":
                change = self._publications.change_of(body.service)
                rest.append(Request(self._publications.whole(body.service, body.wait), [call], change=change))
            elif isinstance(body, Publish | Withdraw | Subscribe):
                kind = Subscribe if isinstance(body, Subscribe) else Publish
                riders.setdefault((kind, body.service), []).append(call)
            else:
                rest.append(Request(body, [call]))
        return self._redo_publications(riders) + self._redo_subscriptions(riders) + rest

    def leave(self) -> None:
        """The client closes: from now on it wants nothing, and every call in progress is told so."""
        self._publications.withdraw_all()
        self._subscriptions.clear()

    def sent(self, request: Request) -> None:
        if isinstance(request.body, Publish):
            self._published = True
        elif isinstance(request.body, DurableBody):
            self._doubtful.update(call for call in request.calls if call in self._calls)

    def is_wanted(self, request: Request) -> bool:
        """A question whose callers have all gone need not be asked; an order must be carried out all the same."""
        if request.redo or isinstance(request.body, WANTED_ALWAYS):
            return True
        return not request.calls or any(call in self._calls for call in request.calls)

    def answered(self, request: Request, body: Any, session: int) -> None:
        """RemoteProtocolError if the answer is none to this request."""
        asked = request.body
        if type(body) is not ANSWER_OF[type(asked)]:
            raise RemoteProtocolError(f"{type(body).__name__} is no answer to {type(asked).__name__}", field="tag")
        match asked:
            case Publish() | Withdraw():
                self._publications.acknowledge(asked.service, request.change, body.stamp)
                self._resolve(request.calls, body)
            case Query() | Subscribe():
                self._resolve(request.calls, self._learn(asked, body, session))
            case _:
                self._resolve(request.calls, body)

    def refused(self, request: Request, failed: Failed) -> Request | None:
        """The node said no for good, or could not promise enough. Returns what is still worth sending in its place."""
        if failed.code == Code.NOT_CONFIRMED:
            self._reject_all(
                request.calls,
                lambda: NotConfirmed(failed.message, nodes=failed.nodes, subscribers=failed.subscribers),
            )
            return None
        waiting = [call for call in request.calls if call in self._calls]
        if failed.code == Code.OUTCOME_UNKNOWN:
            self._repeated.update(waiting)
            return request if waiting else None
        for call in request.calls:
            noted = self._calls.get(call)
            if noted is not None and isinstance(noted.body, Publish) and noted.change is not None:
                self._publications.undo(noted.change)
        if request.redo:
            text = f"{request.body.service.grouped_name} was refused in a new session: {failed.message}"
            self._actions.append(Report("ERROR", text))
        repeated = [call for call in waiting if call in self._repeated]
        self._reject_all(repeated, lambda: OutcomeUnknown(f"it may have been written before: {failed.message}"))
        self._reject_all(request.calls, lambda: refusal(failed))
        if isinstance(request.body, Subscribe):
            self._give_up_subscription(request.body.service)
        return self._remainder(request)

    def again(self, request: Request) -> Request | None:
        """What to send in place of a request that the node had no room for. Newer orders may have overtaken it."""
        match request.body:
            case Publish() | Withdraw():
                service, wait = request.body.service, request.body.wait
                whole = self._publications.whole(service, wait)
                return Request(whole, request.calls, redo=request.redo, change=self._publications.change_of(service))
            case Unsubscribe() if request.body.service in self._subscriptions:
                self._resolve(request.calls, Done())
                return None
            case _:
                return request

    def pushed(self, view: View, session: int) -> None:
        if view.service not in self._subscriptions:
            return  # It crossed with the unsubscribe.
        snapshot = self._cache.take(view, session, answer=False)
        if snapshot is not None:
            self._actions.append(Deliver(snapshot))

    def expire(self, now_ms: int, error: Callable[[], RollbookError]) -> list[int]:
        """Reject the calls whose time is over; return them."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            call = heapq.heappop(self._deadlines)[1]
            if call in self._calls:
                expired.append(call)
        doubtful = [call for call in expired if call in self._doubtful]
        self._reject_all(doubtful, lambda: OutcomeUnknown(f"it may have been written: {error().message}"))
        self._reject_all(expired, error)
        return expired

    def reject_everything(self, error: Callable[[], RollbookError]) -> None:
        self._reject_all(sorted(self._calls), error)
        self._deadlines.clear()

    def check_invariants(self) -> None:
        assert len(self._calls) <= self._calls_max
        assert {call for _, call in self._deadlines} >= self._calls.keys(), "every call has a deadline"
        assert self._repeated <= self._doubtful <= self._calls.keys()

    def _intend(self, body: CallBody) -> Change | None:
        match body:
            case Publish():
                return self._publications.publish(body.service, body.instances, body.mode)
            case Withdraw():
                return self._publications.withdraw(body.service, body.keys)
            case Subscribe():
                self._subscriptions[body.service] = None
            case Unsubscribe():
                self._subscriptions.pop(body.service, None)
                self._cache.forget(body.service)
                self._actions.append(Forget(body.service))
            case _:
                pass  # A question changes nothing here.
        return None

    def _redo_publications(self, riders: dict[tuple[type[Any], Service], list[int]]) -> list[Request]:
        services = set(self._publications.services()) | {service for kind, service in riders if kind is Publish}
        return [
            Request(
                self._publications.whole(service),
                riders.get((Publish, service), []),
                redo=True,
                change=self._publications.change_of(service),
            )
            for service in sorted(services)
        ]

    def _remainder(self, request: Request) -> Request | None:
        """A refused redo carried new instances too: without these, the older ones must stand."""
        if not request.redo or not request.calls or not isinstance(request.body, Publish):
            return None
        service = request.body.service
        whole = self._publications.whole(service)
        return Request(whole, [], redo=True, change=self._publications.change_of(service))

    def _give_up_subscription(self, service: Service) -> None:
        """It was refused. Whoever has had a list goes on wanting it, and so does whoever still waits for the first."""
        waiting = (call.body for call in self._calls.values() if isinstance(call.body, Subscribe))
        if self._cache.get(service) is None and all(body.service != service for body in waiting):
            self._subscriptions.pop(service, None)

    def _redo_subscriptions(self, riders: dict[tuple[type[Any], Service], list[int]]) -> list[Request]:
        services = set(self._subscriptions) | {service for kind, service in riders if kind is Subscribe}
        return [
            Request(Subscribe(service), riders.get((Subscribe, service), []), redo=True) for service in sorted(services)
        ]

    def _learn(self, asked: Query | Subscribe, view: View, session: int) -> Any:
        """What the answer means: for a subscribed service the cache decides, so that no caller sees time go back."""
        if asked.service not in self._subscriptions or asked.clusters:
            return snapshot_of(view, session)
        known = self._cache.get(asked.service)
        snapshot = self._cache.take(view, session, answer=True)
        if snapshot is not None and snapshot is not known:
            self._actions.append(Deliver(snapshot))
        return snapshot

    def _resolve(self, calls: list[int], value: Any) -> None:
        self._actions += [Resolve(call, value) for call in calls if self._forget(call)]

    def _reject(self, call: int, error: RollbookError) -> None:
        self._actions.append(Reject(call, error))

    def _reject_all(self, calls: list[int], error: Callable[[], RollbookError]) -> None:
        for call in calls:
            if self._forget(call):
                self._reject(call, error())

    def _forget(self, call: int) -> bool:
        """False if it is over already."""
        self._doubtful.discard(call)
        self._repeated.discard(call)
        return self._calls.pop(call, None) is not None


def refusal(failed: Failed) -> Refused:
    return Refused(failed.message, code=failed.code, field=failed.field, retryable=failed.retryable)
