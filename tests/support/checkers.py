"""Safety rules that must hold after every single turn of a simulated cluster, whatever happened before.

A4: at no node does the seq of a key of one origin go down, and equal (origin, key, seq) are equal bytes everywhere.
A5: no message of a peer changes or removes a record of the node's own epoch.
A6: a view that leaves holds each instance key once.
A7: no node sends a session an older view of a service after a newer one. A push may be older than an answer, which the
client then drops, but only while PushActor has yet to learn what the answer showed; and never older than another push.
A10: a node that has never been ready answers no view.
A11: no frame between nodes, and none to a client, is larger than its declared cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.base import Role, Tell
from actors.messages.clients import ApplyDelta, OwnersPurged
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients, ClientFrame, PushToClients, SendToPeers
from actors.messages.push import ServicesTouched, SubscriptionsChanged, ViewsBuilt
from actors.messages.values import Origin, Record, RecordKey, Route
from actors.peer_frames import PEER_FRAME_BYTES_MAX
from rollbook.model import Service, View
from rollbook.wire import ANSWER_BYTES_MAX, Tag, answer_body, open_envelope
from runtime.simulation.clients import Answer
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn

Place = tuple[str, int]  # one life of one node


class ViewOrder(NamedTuple):
    """What one session has been sent of one service, in versions."""

    newest: int = 0  # pushed or answered
    pushed: int = 0

    def is_overtaken(self, version: int) -> bool:
        """Whether a push of this version is older than an answer, but no older than any push."""
        return self.pushed <= version < self.newest

    def after(self, version: int, *, is_push: bool) -> ViewOrder:
        return ViewOrder(max(self.newest, version), version if is_push else self.pushed)


MAILBOX_MESSAGES_MAX = 10_000  # far above what the edge lets in; a queue that grows is a leak


class SafetyChecks:
    """One set of checks for one cluster; counts what it has looked at, so that a test can see it was not asleep."""

    def __init__(self) -> None:
        self.looked_at = dict.fromkeys(("records", "deltas", "views", "views_of_clients", "frames_between_nodes"), 0)
        self.peaks: dict[str, int] = {}  # the highest of each measure that a cap is declared for
        self._seqs: dict[Place, dict[tuple[Origin, RecordKey], int]] = {}
        self._bytes: dict[tuple[Origin, RecordKey, int], int] = {}
        self._seen: dict[tuple[str, int, Service], ViewOrder] = {}  # by client and session
        self._answers_seen: dict[str, int] = {}
        self._sent: dict[tuple[str, Route, Service], ViewOrder] = {}  # by node and session

    def __call__(self, cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        role = turn.role
        if role is Role.CLIENTS:
            self._check_records(node, turn)
        elif role is Role.INDEX or role is Role.PUSH:
            self._check_views_leaving(node, turn)
        elif role is Role.DISTRO:
            self._check_peer_frames(node, turn)
        for client in cluster.clients:
            seen = self._answers_seen.get(client.client_id, 0)
            if len(client.answers) > seen:
                self._answers_seen[client.client_id] = len(client.answers)
                for answer in client.answers[seen:]:
                    self._check_view_seen(client.client_id, answer)

    # -- A4, A5

    def _check_records(self, node: SimNode, turn: Turn) -> None:
        assert node.identity is not None
        own = Origin(node.node_id, node.identity.epoch)
        place = (node.name, node.identity.epoch)
        for change in _told(turn, RecordsChanged):
            if isinstance(turn.message, ApplyDelta):
                self.looked_at["deltas"] += 1
                claimed = [record.key for record in change.records if record.origin == own]
                claimed += [key for origin, key in change.removed if origin == own]
                assert not claimed, f"A5: a peer's message changed native records of {node.name}: {claimed}"
            for record in change.records:
                self._check_record(place, record)
            for removed in change.removed:
                self._forget(place, removed, wholly=isinstance(turn.message, OwnersPurged))

    def _forget(self, place: Place, removed: tuple[Origin, RecordKey], *, wholly: bool) -> None:
        """What was purged may come back from seq 0; what was collected, in the version that it had."""
        seqs = self._seqs.setdefault(place, {})
        before = seqs.pop(removed, None)
        if before is not None and not wholly:
            seqs[removed] = before - 1

    def _check_record(self, place: Place, record: Record) -> None:
        self.looked_at["records"] += 1
        seqs = self._seqs.setdefault(place, {})
        at = (record.origin, record.key)
        before = seqs.get(at, 0)
        assert record.seq > before, f"A4: {place[0]} went from seq {before} to {record.seq} for {at}"
        seqs[at] = record.seq
        known = self._bytes.setdefault((*at, record.seq), record.digest)
        assert known == record.digest, f"A4: two contents for {at} at seq {record.seq}"

    # -- A6, A7, A10

    def _check_views_leaving(self, node: SimNode, turn: Turn) -> None:
        for frame in _frames(turn):
            envelope = open_envelope(frame.payload)
            if envelope.tag not in (Tag.VIEW, Tag.PUSH):
                continue
            self.looked_at["views"] += 1
            self._check_size("client_frame_bytes", len(frame.payload), ANSWER_BYTES_MAX, node)
            assert node.was_ready, f"A10: {node.name} sent a view before it was ready"
            view = answer_body(envelope)
            keys = [instance.key for instance in view.instances]
            assert len(set(keys)) == len(keys), f"A6: {node.name} lists an instance twice: {keys}"
            assert keys == sorted(keys), f"A6: the view of {view.service} is not sorted by key"
            self._check_order(node, frame.route, view, is_push=envelope.tag == Tag.PUSH)

    def _check_order(self, node: SimNode, route: Route, view: View, *, is_push: bool) -> None:
        at = (node.name, route, view.service)
        before, version = self._sent.get(at, ViewOrder()), view.version
        if not (is_push and before.is_overtaken(version) and _has_yet_to_learn(node, view.service)):
            assert version >= before.newest, (
                f"A7: {node.name} sent version {version} of {view.service.name} after {before.newest} in one session"
            )
        self._sent[at] = before.after(version, is_push=is_push)

    # -- A11

    def _check_peer_frames(self, node: SimNode, turn: Turn) -> None:
        for effect in turn.effects:
            if isinstance(effect, Tell) and isinstance(effect.message, SendToPeers):
                frames = effect.message.frames
                self.looked_at["frames_between_nodes"] += len(frames)
                largest = max((len(frame.payload) for frame in frames), default=0)
                self._check_size("peer_frame_bytes", largest, PEER_FRAME_BYTES_MAX, node)

    def check_queues(self, node: SimNode) -> None:
        """Whoever sees to the time calls it now and then: queues are not of one turn."""
        self._check_size("mailbox_messages", node.backlog, MAILBOX_MESSAGES_MAX, node)

    def _check_size(self, name: str, size: int, cap: int, node: SimNode) -> None:
        if size > self.peaks.get(name, 0):
            self.peaks[name] = size
            assert size <= cap, f"A11: {name.replace('_', ' ')} at {node.name}: {size}, more than {cap}"

    # -- A7 as clients see it

    def _check_view_seen(self, client_id: str, answer: Answer) -> None:
        view = answer.body
        if not isinstance(view, View):
            return
        self.looked_at["views_of_clients"] += 1
        at = (client_id, answer.session, view.service)
        before, is_push = self._seen.get(at, ViewOrder()), not answer.correlation
        assert view.version >= before.newest or (is_push and before.is_overtaken(view.version)), (
            f"A7: {client_id} saw version {view.version} of {view.service} after {before.newest}"
        )
        self._seen[at] = before.after(view.version, is_push=is_push)


def _has_yet_to_learn(node: SimNode, service: Service) -> bool:
    """Whether news of this service is on its way to the node's PushActor, or a view that it has yet to be given."""
    topic = node.behaviour(Role.PUSH).topics.get(service)
    if topic is not None and (topic.asked or topic.dirty):
        return True
    return any(service == news for message in node.waiting(Role.PUSH) for news in _news_of(message))


def _news_of(message: Any) -> Iterator[Service]:
    match message:
        case ServicesTouched():
            yield from message.services
        case ViewsBuilt():
            yield from (view.service for view in message.views)
        case SubscriptionsChanged():
            yield from (view.service for view in message.views)
            yield from (service for _, service in message.removed)
        case _:
            pass


def _told(turn: Turn, kind: type[RecordsChanged]) -> Iterator[RecordsChanged]:
    for effect in turn.effects:
        if isinstance(effect, Tell) and isinstance(effect.message, kind):
            yield effect.message


def _frames(turn: Turn) -> Iterator[ClientFrame]:
    for effect in turn.effects:
        if isinstance(effect, Tell) and isinstance(effect.message, AnswerClients | PushToClients):
            yield from effect.message.frames
