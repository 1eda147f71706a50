"""What the answers of all nodes say together: who is there, who lags behind whom, and whether everyone holds the same.

Pure: statuses in, a report out. Digests are compared where they mean something, that is between nodes that have applied
the same changes of the same life of the same owner; a node that has applied fewer is behind, which is not a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from rollbook.status import MemberStatus, NodeStatus, OwnerStatus

_EPOCH_CLOCK_BITS = 16  # an epoch is (wall ms << 16) | chance, unless counted up from an earlier one
_EPOCH_CLOCK_MS_MIN = 1_000_000_000_000  # 2001; a smaller number is no clock

Verdict = Literal["agree", "behind", "differ"]


class NodeLine(NamedTuple):
    """One configured member: what it says of itself, or that it does not answer and how the others see it."""

    number: int
    address: str  # for clients; the one for peers if no other is known
    node_id: str
    status: NodeStatus | None
    seen_as: str  # its state in the eyes of the node that was asked first
    error: str

    @property
    def state(self) -> str:
        if self.status is None:
            return f"no answer ({self.seen_as})"
        return f"{self.status.standing}, preserving" if self.status.preserved else self.status.standing

    @property
    def is_well(self) -> bool:
        return self.status is not None and self.status.ready and not self.status.preserved


class Finding(NamedTuple):
    """Two nodes that do not hold the same of one owner's epoch."""

    verdict: Verdict
    owner: str
    epoch: int
    text: str


class ClusterReport(NamedTuple):
    lines: tuple[NodeLine, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        verdicts = {finding.verdict for finding in self.findings}
        return "differ" if "differ" in verdicts else "behind" if verdicts else "agree"

    @property
    def is_whole(self) -> bool:
        """Every member answers and is ready, and no two differ."""
        return all(line.is_well for line in self.lines) and self.verdict != "differ"

    @property
    def answers(self) -> list[NodeStatus]:
        return [line.status for line in self.lines if line.status is not None]


def make_report(first: NodeStatus, asked: Mapping[str, NodeStatus | str]) -> ClusterReport:
    """``asked``: by client address, the answer of a member or why there is none; ``first`` answered itself."""
    lines = []
    for number, member in enumerate(sorted_members(first), start=1):
        answer = (
            first if member.state == "self" else asked.get(member.client_address, "its client address is not known")
        )
        status = answer if isinstance(answer, NodeStatus) else None
        address = member.client_address or f"{member.peer_address} (peers)"
        error = "" if isinstance(answer, NodeStatus) else answer
        lines.append(NodeLine(number, address, member.node_id, status, member.state, error))
    answers = [line.status for line in lines if line.status is not None]
    return ClusterReport(tuple(lines), tuple(_findings(answers)))


def sorted_members(status: NodeStatus) -> list[MemberStatus]:
    """The members as one node sees them, in the same order whoever is asked; a standalone node is its only member."""
    alone = MemberStatus(status.node_id, "", "", "self", status.ready, status.epoch, 0)
    return sorted(status.members or [alone], key=lambda member: _address_key(member.peer_address))


def lag_text(line: NodeLine, lines: Sequence[NodeLine]) -> str:
    """How many changes of this node each other has not confirmed, by the other's number."""
    return "  ".join(f"{number}: {'?' if lag < 0 else lag}" for number, lag in _lags(line, lines))


def epoch_text(epoch: int) -> str:
    """An epoch as the moment it began and its random tail, which tells two lives of one moment apart."""
    milliseconds, tail = epoch >> _EPOCH_CLOCK_BITS, epoch & ((1 << _EPOCH_CLOCK_BITS) - 1)
    if milliseconds < _EPOCH_CLOCK_MS_MIN:
        return str(epoch)
    moment = datetime.fromtimestamp(milliseconds / 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{tail:04x}"


def digest_text(digest: int) -> str:
    return f"{digest:016x}"


def report_json(report: ClusterReport) -> dict[str, Any]:
    """Epochs as numbers of more than 53 bits; digests as hexadecimal text."""
    return {
        "whole": report.is_whole,
        "digests": report.verdict,
        "findings": [finding._asdict() for finding in report.findings],
        "nodes": [_line_json(line, report.lines) for line in report.lines],
    }


def _line_json(line: NodeLine, lines: Sequence[NodeLine]) -> dict[str, Any]:
    head = {"address": line.address, "node_id": line.node_id, "answers": line.status is not None}
    if line.status is None:
        return {**head, "seen_as": line.seen_as, "error": line.error}
    status = line.status
    by_number = {other.number: other for other in lines}
    return {
        **head,
        "standing": status.standing,
        "ready": status.ready,
        "preserved": status.preserved,
        "convergence": [msgspec.structs.asdict(counts) for counts in status.convergence],
        "epoch": status.epoch,
        "epoch_began": epoch_text(status.epoch),
        "seq": status.seq,
        "records": status.records,
        "sessions": status.sessions,
        "lag": {by_number[number].address: lag for number, lag in _lags(line, lines)},
        "owners": [_owner_json(owner) for owner in status.owners],
        "durable": msgspec.structs.asdict(status.durable),
        "store_members": [msgspec.structs.asdict(member) for member in status.store_members],
        "counters": dict(sorted(status.counters.items())),
        "version": status.version,
    }


def _owner_json(owner: OwnerStatus) -> dict[str, Any]:
    return {
        "owner": owner.owner,
        "epoch": owner.epoch,
        "applied": owner.applied,
        "records": owner.records,
        "digest": digest_text(owner.digest),
        "tombstones": owner.tombstones,
    }


def _lags(line: NodeLine, lines: Sequence[NodeLine]) -> Iterator[tuple[int, int]]:
    if line.status is None:
        return
    lags = {member.peer_address: member.lag for member in sorted_members(line.status) if member.state != "self"}
    numbers = {member.peer_address: other.number for other, member in _members_of(line.status, lines)}
    for address in sorted(lags, key=lambda address: numbers.get(address, 0)):
        if address in numbers:
            yield numbers[address], lags[address]


def _members_of(status: NodeStatus, lines: Sequence[NodeLine]) -> Iterator[tuple[NodeLine, MemberStatus]]:
    """The lines of the members that this node lists; a member is known by its id, else by its address."""
    for member in status.members:
        for other in lines:
            same_id = bool(member.node_id) and member.node_id == other.node_id
            if same_id or (member.client_address and member.client_address == other.address):
                yield other, member
                break


def _findings(answers: Sequence[NodeStatus]) -> Iterator[Finding]:
    held: dict[tuple[str, int], dict[str, OwnerStatus]] = {}
    for status in answers:
        for owner in status.owners:
            held.setdefault((owner.owner, owner.epoch), {})[status.node_id] = owner
    for (owner_id, epoch), holders in sorted(held.items()):
        for verdict, text in _compare(holders, [status.node_id for status in answers]):
            yield Finding(verdict, owner_id, epoch, text)


def _compare(holders: Mapping[str, OwnerStatus], nodes: Sequence[str]) -> Iterator[tuple[Verdict, str]]:
    """One owner's epoch. A node that knows nothing of it lacks something only if others hold live records."""
    newest = max(owner.applied for owner in holders.values())
    by_applied: dict[int, dict[int, str]] = {}
    for node, owner in sorted(holders.items()):
        by_applied.setdefault(owner.applied, {}).setdefault(owner.digest, node)
        if owner.applied < newest:
            yield "behind", f"{short(node)} has applied {owner.applied} of {newest} changes"
    for applied, digests in sorted(by_applied.items()):
        if len(digests) > 1:
            sides = ", ".join(f"{short(node)} holds {digest_text(digest)}" for digest, node in sorted(digests.items()))
            yield "differ", f"at change {applied}: {sides}"
    if any(owner.records for owner in holders.values()):
        for node in sorted(set(nodes) - holders.keys()):
            yield "behind", f"{short(node)} has nothing of it yet"


def short(node_id: str) -> str:
    """Enough of a node id to tell nodes apart at sight."""
    return node_id[:8]


def _address_key(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port) if port.isdigit() else 0
