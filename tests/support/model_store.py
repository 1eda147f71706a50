"""A store in memory that does what the port promises (runtime/store/port.py) and nothing of its own accord."""

from __future__ import annotations

from actors.messages.store import Cut, Operation, Outcome, Proposal, Row, StoredChange


class ModelStore:
    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.index = 0
        self.oldest = 1  # the log begins here
        self.log: list[StoredChange] = []

    def apply(self, proposal: Proposal) -> Outcome:
        """Now, if its expectations hold."""
        if any(self.row_index(expected.key) != expected.index for expected in proposal.expectations):
            return Outcome(False, self.index)
        done = [each for each in proposal.operations if each.value is not None or each.key in self.rows]
        if not done:
            return Outcome(True, self.index)
        self.index += 1
        for operation in done:
            if operation.value is None:
                del self.rows[operation.key]
            else:
                self.rows[operation.key] = Row(operation.key, operation.value, self.index)
        self.log.append(StoredChange(self.index, tuple(sorted(done, key=lambda operation: operation.key))))
        return Outcome(True, self.index)

    def write(self, key: str, value: bytes | None) -> int:
        return self.apply(Proposal(0, (Operation(key, value),))).index

    def row_index(self, key: str) -> int:
        return self.rows[key].index if key in self.rows else 0

    def cut(self) -> Cut:
        return Cut(tuple(self.rows[key] for key in sorted(self.rows)), self.index)

    def changes_after(self, index: int, count_max: int = 1 << 30) -> tuple[StoredChange, ...] | None:
        """What a watch would be told, in order; None if some of it is not there any more."""
        if index + 1 < self.oldest:
            return None
        return tuple(change for change in self.log if change.index > index)[:count_max]

    def compact(self, index: int) -> None:
        self.oldest = max(self.oldest, index + 1)
        self.log = [change for change in self.log if change.index >= self.oldest]
