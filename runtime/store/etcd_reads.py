"""What is asked of etcd and changes nothing: cuts read page by page at one revision, the newest index, the status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from actors.messages.store import Cut, Row
from runtime.store.etcd_gateway import (
    COMPACTED,
    RANGE_ANSWER,
    GatewayLink,
    NoAnswer,
    NotSent,
    RangeAnswer,
    Refusal,
    StatusAnswer,
    answer_decoder,
    encode_request,
    member_status,
)
from runtime.store.etcd_lane import ask_patiently
from runtime.store.etcd_mark import RESTORING, mark_key
from runtime.store.port import Compacted, StoreStatus, Unavailable


class EtcdReader:
    def __init__(self, key_prefix: str) -> None:
        self._key_prefix = key_prefix.encode()

    def plain_key(self, key: bytes) -> str:
        """As the port knows it."""
        return key[len(self._key_prefix) :].decode()

    def cut(self, link: GatewayLink, prefix: str, linearizable: bool, deadline: float) -> Cut:
        """A compaction while the pages are read takes their revision away: then from the beginning."""
        while True:
            try:
                pages = list(self._pages(link, prefix, linearizable, lambda: deadline))
            except Compacted:
                if time.monotonic() >= deadline:
                    raise Unavailable("the log was compacted faster than the rows could be read") from None
                continue
            rows = tuple(self._row(page, n) for page in pages for n in range(len(page.kvs)))
            return Cut(rows, pages[0].header.revision)

    def rows(self, link: GatewayLink, prefix: str, page_deadline: Callable[[], float]) -> Iterator[Row]:
        """One page in memory at a time."""
        try:
            for page in self._pages(link, prefix, True, page_deadline):
                yield from (self._row(page, n) for n in range(len(page.kvs)))
        except Compacted:
            raise Unavailable("the log was compacted before all rows were read") from None

    def newest_index(self, link: GatewayLink, deadline: float) -> int:
        """Linearizable: the member asks the leader how far it must be before it answers."""
        request = encode_request({"key": self._key_prefix or b"\0", "keys_only": True, "limit": 1})
        return ask_patiently(
            link, lambda until: link.ask("/v3/kv/range", request, RANGE_ANSWER, until).header.revision, deadline
        )

    def oldest_index(self, link: GatewayLink, newest: int, deadline: float) -> int:
        """etcd does not say it; but what can be read ends where the log begins, and halving finds that."""
        lowest, highest = 1, newest
        while lowest < highest:
            middle = (lowest + highest) // 2
            if self._is_readable(link, middle, deadline):
                highest = middle
            else:
                lowest = middle + 1
        return lowest + 1 if lowest > 1 else 1  # at the revision it was compacted to, deletions may be missing

    def _is_readable(self, link: GatewayLink, revision: int, deadline: float) -> bool:
        request = {"key": self._key_prefix or b"\0", "count_only": True, "revision": revision, "serializable": True}
        try:
            link.ask("/v3/kv/range", encode_request(request), RANGE_ANSWER, deadline, needs_leader=False)
        except Refusal as refusal:
            if refusal.sentence != COMPACTED:
                raise
            return False
        return True

    def _pages(
        self, link: GatewayLink, prefix: str, linearizable: bool, page_deadline: Callable[[], float]
    ) -> Iterator[RangeAnswer]:
        first, end = row_range(self._key_prefix.decode(), prefix)
        settings, revision = link.settings, 0
        limit = settings.first_page_rows_max
        while True:
            request: dict[str, object] = {"key": first, "range_end": end, "limit": limit, "revision": revision}
            request["serializable"] = not linearizable
            page = self._page(link, encode_request(request), linearizable, page_deadline())
            if not revision:
                revision = page.header.revision
                if self._is_marked(link, revision, linearizable, page_deadline()):
                    raise Unavailable(RESTORING)
            yield page
            if not page.more:
                return
            first = page.kvs[-1].key + b"\0"
            page_bytes = sum(len(row.key) + len(row.value) for row in page.kvs)
            limit = max(1, min(settings.page_rows_max, settings.page_bytes_max * len(page.kvs) // page_bytes))

    def _page(self, link: GatewayLink, request: bytes, linearizable: bool, deadline: float) -> RangeAnswer:
        try:
            return ask_patiently(
                link,
                lambda until: link.ask("/v3/kv/range", request, RANGE_ANSWER, until, needs_leader=linearizable),
                deadline,
            )
        except Refusal:  # ask_patiently passes on no other than that the revision is gone
            raise Compacted(0) from None

    def is_being_restored(self, link: GatewayLink, deadline: float) -> bool:
        return self._is_marked(link, 0, False, deadline)

    def _is_marked(self, link: GatewayLink, revision: int, linearizable: bool, deadline: float) -> bool:
        request = {"key": mark_key(self._key_prefix.decode()), "revision": revision, "serializable": True}
        return bool(self._page(link, encode_request(request), linearizable, deadline).kvs)

    def _row(self, page: RangeAnswer, number: int) -> Row:
        found = page.kvs[number]
        return Row(self.plain_key(found.key), found.value, found.mod_revision)


def prefix_range(prefix: str) -> tuple[bytes, bytes]:
    """All keys that begin so, as etcd wants it: from the first, up to and without the second."""
    first = prefix.encode()
    kept = first.rstrip(b"\xff")
    return (first, kept[:-1] + bytes([kept[-1] + 1])) if kept else (b"\0", b"\0")


def row_range(key_prefix: str, prefix: str) -> tuple[bytes, bytes]:
    """Rows whose key begins so. No key of a row begins with NUL, where the mark of a restore has its place."""
    first, end = prefix_range(key_prefix + prefix)
    return (first, end) if prefix else (key_prefix.encode() + b"\1", end)


class EtcdMember(msgspec.Struct, rename={"member_id": "ID", "peer_urls": "peerURLs", "is_learner": "isLearner"}):
    """``name`` is empty until it has started for the first time."""

    member_id: str
    name: str = ""
    peer_urls: list[str] = []
    is_learner: bool = False


class MembersAnswer(msgspec.Struct):
    members: list[EtcdMember] = []


MEMBERS_ANSWER = answer_decoder(MembersAnswer)


def read_status(link: GatewayLink, reader: EtcdReader, deadline: float) -> StoreStatus:
    """Also of an etcd that cannot write, or that is not there."""
    status = StoreStatus("etcd", 0, 0, False)
    try:
        answer = member_status(link, deadline)
        known = link.ask("/v3/cluster/member/list", b"{}", MEMBERS_ANSWER, deadline, needs_leader=False).members
        status = StoreStatus(
            engine=f"etcd {answer.version}",
            index=answer.header.revision,
            oldest_index=reader.oldest_index(link, answer.header.revision, deadline),
            is_writable=False,
            trouble=trouble_of(answer),
            leader=next((member.name for member in known if member.member_id == answer.leader), ""),
            members=tuple(sorted(member_label(member) for member in known)),
        )
        if not status.trouble and reader.is_being_restored(link, deadline):
            status = msgspec.structs.replace(status, trouble=RESTORING)
        if status.trouble:
            return status
        return msgspec.structs.replace(status, index=reader.newest_index(link, deadline), is_writable=True)
    except (NotSent, NoAnswer, Refusal, Unavailable) as failure:
        return msgspec.structs.replace(status, trouble=f"etcd is not available: {failure}")


def member_label(member: EtcdMember) -> str:
    name = member.name or f"{' '.join(member.peer_urls)} (has not started)"
    return f"{name} (learner)" if member.is_learner else name


def trouble_of(answer: StatusAnswer) -> str:
    """One sentence, or nothing."""
    if answer.leader in ("", "0"):
        return "etcd has no leader: fewer than half of its members reach each other"
    if answer.has_no_space:
        return "etcd has no space: its quota is used up; compact, defragment, then disarm the alarm"
    return f"etcd says: {'; '.join(answer.errors)}" if answer.errors else ""
