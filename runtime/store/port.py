"""What durable data is kept in: an ordered log of small atomic changes to a table of keys, behind one port.

Every applied change has an index, higher than all before it; a row carries the index of the change that wrote it.
Whoever takes a cut and then watches from the index after it has seen everything once and in order. All calls may come
from any thread; no call waits longer than it says. Each outcome is one of three: done, refused (``Unavailable``,
``TooLarge``, an expectation that did not hold) or not known (``FateUnknown``). Operations are absolute or
conditional, so whoever does not know repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec

from actors.messages.store import Cut, Expectation, Operation, Outcome, Row, StoredChange

KEY_BYTES_MAX = 4_096  # names of the longest, four bytes a letter, take three quarters of it
VALUE_BYTES_MAX = 262_144  # a record of the cluster has at most 128 KiB
OPERATIONS_MAX = 127  # of one proposal; etcd takes 128 by default, and one comparison is the engine's own
PROPOSAL_BYTES_MAX = 1_048_576  # etcd refuses requests above 1.5 MiB


class StoreStatus(msgspec.Struct, frozen=True):
    """For people. ``members`` and ``leader`` are empty where one process is all there is."""

    engine: str  # "sqlite 3.40.1", "etcd 3.4.23"
    index: int  # the newest that is known here
    oldest_index: int  # a watch can begin at this one or later
    is_writable: bool
    trouble: str = ""  # why not, in one sentence
    leader: str = ""
    members: tuple[str, ...] = ()


class StoreFault(Exception):
    """The store did not do what was asked; the message is one sentence for people."""


class Unavailable(StoreFault):
    """Surely not applied. The same may succeed later."""


class FateUnknown(StoreFault):
    """It may have been applied, or may yet be."""


class Compacted(StoreFault):
    """The log before ``oldest_index`` is gone: take a cut, then watch from there."""

    def __init__(self, oldest_index: int) -> None:
        super().__init__(f"the log begins at {oldest_index} by now")
        self.oldest_index = oldest_index


class TooLarge(StoreFault):
    """No engine takes this, now or later; ``field`` says what of it: key, value or operations."""

    def __init__(self, sentence: str, field: str) -> None:
        super().__init__(sentence)
        self.field = field


class WatchListener(Protocol):
    """Called on a thread of the store, one call at a time and in order; it must not wait for anything, for that thread
    may be the one that writes."""

    def changed(self, changes: Sequence[StoredChange]) -> None: ...

    def advanced(self, index: int) -> None:
        """Up to here nothing else has happened: how an idle watch stays young."""

    def failed(self, fault: StoreFault) -> None:
        """The watch goes on by itself after ``Unavailable``; after ``Compacted`` it has ended."""


class Watch(Protocol):
    def close(self) -> None:
        """No call of the listener begins after this has returned."""


class Store(Protocol):
    @property
    def identity(self) -> str:
        """Which store it is: another one holds other data, whatever its index."""

    def propose(
        self, operations: Sequence[Operation], expectations: Sequence[Expectation] = (), *, timeout_seconds: float
    ) -> Future[Outcome]:
        """All of the operations or none, durably before the future is done. A key may occur once.

        TooLarge is raised at once, every other fault comes with the future. What changes nothing (it deletes what is
        not there) is applied at the index of the change before it, and no watch hears of it. Proposals of one caller
        that do not wait for each other may be applied in any order.
        """

    def read(self, prefix: str, *, linearizable: bool = True, timeout_seconds: float) -> Future[Cut]:
        """Linearizable: with everything that was acknowledged anywhere before the call. Else what is known here."""

    def barrier(self, *, timeout_seconds: float) -> Future[int]:
        """An index that is not below that of anything acknowledged anywhere before the call."""

    def watch(self, prefix: str, from_index: int, listener: WatchListener) -> Watch:
        """Every change from this index on: none twice, none left out."""

    def snapshot(self) -> Iterator[Row]:
        """Every row, as of one index, sorted by key; read piece by piece. For backups."""

    def restore(self, rows: Iterable[Row]) -> int:
        """Put all of these into an empty store, or none, and say how many; StoreFault if it is not empty.

        Until the last one is there nobody can read or write; a watch may hear of them in many changes.
        """

    def compact(self, index: int, *, timeout_seconds: float) -> Future[None]:
        """The log up to and with this index is not needed any more. Rows stay."""

    def status(self) -> StoreStatus: ...

    def close(self) -> None:
        """What was accepted is finished first; what comes later is refused as unavailable."""


def check_proposal(operations: Sequence[Operation], expectations: Sequence[Expectation]) -> None:
    """Raise a fault for what no engine takes; a key that is written twice is a fault of the caller."""
    if not 0 < len(operations) <= OPERATIONS_MAX or len(expectations) > OPERATIONS_MAX:
        raise TooLarge(f"a proposal has 1 to {OPERATIONS_MAX} operations, not {len(operations)}", "operations")
    size_bytes = sum(_key_bytes(expectation.key) for expectation in expectations)
    for operation in operations:
        key_bytes, value_bytes = _key_bytes(operation.key), len(operation.value or b"")
        if value_bytes > VALUE_BYTES_MAX:
            raise TooLarge(
                f"the value of {operation.key} has {value_bytes} bytes, at most {VALUE_BYTES_MAX} fit", "value"
            )
        size_bytes += key_bytes + value_bytes
    if size_bytes > PROPOSAL_BYTES_MAX:
        raise TooLarge(f"a proposal has at most {PROPOSAL_BYTES_MAX} bytes, not {size_bytes}", "operations")
    assert len({operation.key for operation in operations}) == len(operations), "a key occurs twice in one proposal"


def proposals_of(rows: Iterable[Row]) -> Iterator[list[Operation]]:
    """What is to be restored, as proposals that every engine takes; StoreFault if it is none of a store."""
    keys: set[str] = set()
    batch: list[Operation] = []
    size_bytes = 0
    for row in rows:
        if row.key in keys:
            raise StoreFault(f"the row {row.key} occurs twice in what is to be restored")
        keys.add(row.key)
        row_bytes = len(row.key.encode()) + len(row.value)
        if batch and (len(batch) == OPERATIONS_MAX or size_bytes + row_bytes > PROPOSAL_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(Operation(row.key, row.value))
        check_proposal(batch[-1:], ())
        size_bytes += row_bytes
    if batch:
        yield batch


def _key_bytes(key: str) -> int:
    if key.startswith("\0"):
        sentence = "a key begins with no NUL character: an engine may keep something of its own there"
        raise TooLarge(sentence, "key")
    size_bytes = len(key.encode())
    if not 0 < size_bytes <= KEY_BYTES_MAX:
        raise TooLarge(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {size_bytes}", "key")
    return size_bytes
