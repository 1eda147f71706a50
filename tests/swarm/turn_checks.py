"""What a single turn of an actor shows, and no later look can tell.

A2: what a node tells its peers to have of others is in its index, and so is what they take for acknowledged by it.
A3: an owner that was hidden is shown again when what it had done by its first heartbeat is here, or after a lease; or
after a third of a suspicion by a node that misses most of the members.
A4: two copies of an origin never differ at equal watermarks. A node that finds such a difference mends it by itself, so
it has to be caught at that moment. (In the swarm no memory rots: any difference is a broken rule.)
A9: a node that stood still judges nobody for one lease: it hides nobody more, and does not take the others for dead.
A7: what a node acknowledges is in its index when the answer leaves, and so in every later answer of that node.
"""

from __future__ import annotations

from typing import NamedTuple

from actors.base import Role, Tell
from actors.messages.distro import DeltaAcknowledged, DigestAccepted, DigestRound, PullReceived
from actors.messages.index import RecordsChanged
from actors.messages.io import AnswerClients
from actors.messages.members import DigestsTaken
from actors.messages.values import Origin
from rollbook.wire import Done, Tag, answer_body, open_envelope
from runtime.simulation.cluster import SimCluster
from runtime.simulation.node import SimNode
from runtime.simulation.scheduler import Turn

MARGIN_MS = 100  # a beat may come a little later, and clocks drift


class _Beat(NamedTuple):
    at_ms: int
    patient_until_ms: int  # one lease after it stood still
    known: frozenset[Origin]
    hidden: frozenset[tuple[Origin, int]]
    preserved: bool


class _Absence(NamedTuple):
    """An owner that a node hides: its counter then, and the first one that was heard since."""

    counter: int
    heard: int
    heard_ms: int


class TurnChecks:
    def __init__(self) -> None:
        self.looked_at = {"acknowledgements": 0, "confirmations": 0, "copies": 0, "beats_after_pauses": 0, "returns": 0}
        self._seqs: dict[tuple[Origin, int], int] = {}  # by life of a node and heartbeat: how far it was when that rose
        self._absent: dict[Origin, dict[Origin, _Absence]] = {}  # by who hides: who is hidden
        self._beats: dict[Origin, _Beat] = {}  # the last one of each life of a node
        self._indexed: dict[Origin, int] = {}  # by the life of a node: up to which seq its own records are indexed
        self._copied: dict[tuple[Origin, Origin], int] = {}  # by the life of a node: and up to which others' are

    def __call__(self, _cluster: SimCluster, node: SimNode, turn: Turn) -> None:
        own, role = node.origin, turn.role
        if own is None:
            return
        if role is Role.MEMBERS:
            at_ms = turn.at_us // 1_000
            if isinstance(turn.message, DigestsTaken):
                heartbeat = node.behaviour(Role.MEMBERS)._leases.heartbeat  # not raised by a beat that proves no life
                self._seqs.setdefault((own, heartbeat), _applied(turn.message, own))
                self._check_judgement(node, own, at_ms)
            self._check_returns(node, own, at_ms)
        elif role is Role.DISTRO or role is Role.CLIENTS or role is Role.INDEX:
            if isinstance(turn.message, DigestAccepted):
                self._check_copies(node, turn.message)
            if isinstance(turn.message, DigestRound):
                self._check_claims(node, own, turn.message)
            if isinstance(turn.message, DeltaAcknowledged | DigestAccepted | PullReceived):
                self._check_confirmations(node, own)
            self._check_answers(node.name, own, turn)

    def _check_copies(self, node: SimNode, message: DigestAccepted) -> None:
        self.looked_at["copies"] += len(message.entries)
        found = node.behaviour(Role.DISTRO).counters["digest_mismatches"]
        assert not found, f"A4: {node.name} and {message.node_id} differ at equal watermarks"

    def _check_claims(self, node: SimNode, own: Origin, message: DigestRound) -> None:
        for entry in message.digest.entries:
            if entry.origin != own:
                self.looked_at["confirmations"] += 1
                here = self._copied.get((own, entry.origin), 0)
                text = f"A2: {node.name} tells that it has {entry.applied} of {entry.owner}, and its index has come to"
                assert entry.applied <= here, f"{text} {here}"

    def _check_confirmations(self, node: SimNode, own: Origin) -> None:
        for node_id, cursor in node.behaviour(Role.DISTRO)._outgoing.cursors.items():
            self.looked_at["confirmations"] += 1
            there = self._copied.get((Origin(node_id, cursor.epoch), own), 0)
            text = f"A2: {node.name} takes seq {cursor.acknowledged} for acknowledged by {node_id}, whose index has"
            assert cursor.acknowledged <= there, f"{text} come to {there}"

    def _check_judgement(self, node: SimNode, own: Origin, at_ms: int) -> None:
        members = node.behaviour(Role.MEMBERS)
        lease_ms = members._settings.lease_ms
        lives = members._leases.lives.items()
        hidden = frozenset((origin, life.hidden_grace_ms) for origin, life in lives if life.hidden_grace_ms)
        preserved = members._told.standing.preserved
        known = frozenset(members._leases.lives)
        before = self._beats.get(own, _Beat(at_ms, 0, known, hidden, preserved))
        stood_still = at_ms - before.at_ms > lease_ms // 3 + MARGIN_MS
        patient_until_ms = at_ms + lease_ms - MARGIN_MS if stood_still else before.patient_until_ms
        if at_ms < patient_until_ms:
            self.looked_at["beats_after_pauses"] += 1
            more = sorted(each for each in hidden - before.hidden if each[0] in before.known)
            assert not more, f"A9: {node.name} hides {more}, and stood still itself less than a lease ago"
            assert before.preserved or not preserved, f"A9: {node.name} takes its own pause for the death of others"
        self._beats[own] = _Beat(at_ms, patient_until_ms, known, hidden, preserved)

    def _check_returns(self, node: SimNode, own: Origin, at_ms: int) -> None:
        members = node.behaviour(Role.MEMBERS)
        absent, settings = self._absent.setdefault(own, {}), members._settings
        patience_ms = settings.suspect_ms // 3 if members._told.standing.preserved else settings.lease_ms
        for origin, life in members._leases.lives.items():
            if life.hidden_grace_ms:
                is_back = life.returns_at_ms is not None  # one that is met, or was forgotten, is hidden when heard
                absence = absent.get(origin) or _Absence(life.counter - is_back, 0, 0)
                if not absence.heard and life.counter > absence.counter:
                    absence = absence._replace(heard=life.counter, heard_ms=at_ms)
                absent[origin] = absence
            elif absent and origin in absent:
                absence = absent.pop(origin)
                patient = absence.heard and at_ms - absence.heard_ms >= patience_ms - MARGIN_MS
                if not patient:
                    self._check_return(node, origin, absence.heard or life.counter)

    def _check_return(self, node: SimNode, origin: Origin, heard: int) -> None:
        self.looked_at["returns"] += 1
        table = node.behaviour(Role.CLIENTS).tables.get(origin)
        here, owed = table.applied if table is not None else 0, self._seqs.get((origin, heard), 0)
        assert here >= owed, f"A3: {node.name} shows {origin.owner} again and has {here} of the {owed} it had done"

    def _check_answers(self, name: str, own: Origin, turn: Turn) -> None:
        if turn.role is Role.INDEX and isinstance(turn.message, RecordsChanged):
            seqs = [record.seq for record in turn.message.records if record.origin == own]
            self._indexed[own] = max([self._indexed.get(own, 0), *seqs])
            for origin, applied, _ in turn.message.watermarks:
                self._copied[own, origin] = max(applied, self._copied.get((own, origin), 0))
        for effect in turn.effects:
            if isinstance(effect, Tell) and isinstance(effect.message, AnswerClients):
                for frame in effect.message.frames:
                    self._check_answer(name, own, frame.payload)

    def _check_answer(self, name: str, own: Origin, payload: bytes) -> None:
        envelope = open_envelope(payload)
        if envelope.tag != Tag.DONE:
            return
        done = answer_body(envelope)
        assert isinstance(done, Done), "this is what the tag says"
        if done.epoch not in (0, own.epoch):
            return  # an HTTP client's: the record is another node's
        self.looked_at["acknowledgements"] += 1
        here = self._indexed.get(own, 0)
        assert done.seq <= here, f"A7: {name} acknowledged seq {done.seq}, and its index has come to {here}"


def _applied(message: DigestsTaken, origin: Origin) -> int:
    return next((entry.applied for entry in message.entries if entry.origin == origin), 0)
