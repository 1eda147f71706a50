"""Durable data as the small registry gives it away, page by page, and takes it back: honest, or failing as told."""

from __future__ import annotations

from typing import Any

from rollbook.errors import Code
from rollbook.kept_rows import DurablePage, KeptRow, ReadDurable, RestoreRows, RowName, durable_rows, row_name
from rollbook.wire import Done, Failed, Tag


class SmallRows:
    def __init__(self) -> None:
        self.held: dict[RowName, KeptRow] = {}
        self.store = "s1"
        self.index = 41
        self.page_rows = 2
        self.unreadable = 0
        self.is_forgetful = False  # holds no reading beyond its first page
        self.stale_since_ms = 0
        self.refusals: list[Failed] = []  # of the next orders to restore
        self.restored: list[int] = []  # how many rows each order held

    def put(self, *rows: KeptRow) -> None:
        self.held |= {row_name(row): row for row in rows}

    @staticmethod
    def concerns(body: Any) -> bool:
        return isinstance(body, ReadDurable | RestoreRows)

    def answer(self, body: ReadDurable | RestoreRows) -> tuple[Tag, Any]:
        match body:
            case ReadDurable():
                return self._page(body)
            case RestoreRows() if self.refusals:
                return Tag.FAILED, self.refusals.pop(0)
            case RestoreRows():
                self.put(*body.rows)
                self.restored.append(len(body.rows))
                return Tag.DONE, Done(seq=1)

    def _page(self, body: ReadDurable) -> tuple[Tag, Any]:
        if self.stale_since_ms and not body.stale:
            return Tag.FAILED, Failed(Code.STORE_UNAVAILABLE, "nothing was read: it is away", retryable=True)
        if body.index not in (0, self.index) or (body.index and self.is_forgetful):
            return Tag.FAILED, Failed(Code.READING_OVER, "it is not held any more", "index", retryable=True)
        all_rows = list(durable_rows(list(self.held.values())))
        rows = durable_rows(all_rows[body.position : body.position + self.page_rows])
        is_complete = body.position + len(rows) == len(all_rows)
        place = (self.store, self.index, body.position, len(all_rows))
        return Tag.DURABLE_PAGE, DurablePage(*place, rows, is_complete, self.unreadable, self.stale_since_ms)
