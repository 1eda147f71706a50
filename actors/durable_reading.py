"""Readings: the whole image page by page, each page of one and the same state, however much is written meanwhile.

Pure rules and a small table; PersistentStore owns the only one of a node. A reading is a list of the rows as they stood
at one index of the store. Rows are never changed, only replaced, so it costs a pointer for each, and in memory what was
replaced since. It is shared by all who begin at the same index, and ends when nobody has asked for a page of it for
some time, or when it is old: a reader that is too slow is told so, and holds up nobody.
"""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from actors.base import Now
from actors.durable_image import DurableImage
from actors.durable_orders import OrderAnswer
from actors.durable_transfer import given_row
from actors.durable_values import Kept, KeptInstance, KeptIntent, KeptNamespace, KeptService
from rollbook.codec import pack
from rollbook.errors import Code
from rollbook.kept_rows import DurablePage, DurableRows, KeptRow, ReadDurable, durable_rows
from rollbook.wire import Failed, Tag

# The order for writing them again: what says how instances are to be probed stands before them, and the intents about
# an instance right behind it. A fence is of use to its own node alone.
_PARTS: dict[type[Kept], int] = {KeptService: 0, KeptNamespace: 1, KeptInstance: 2, KeptIntent: 2}


class ReadingLimits(NamedTuple):
    readings_max: int
    reading_idle_ms: int
    reading_ms: int
    page_rows_max: int
    page_bytes_max: int


class Reading:
    __slots__ = ("asked_ms", "began_ms", "rows", "unreadable")

    def __init__(self, image: DurableImage, now_ms: int) -> None:
        parts: list[list[tuple[str, Kept]]] = [[], [], []]
        for key, kept in image.rows.items():
            if type(kept) in _PARTS:
                parts[_PARTS[type(kept)]].append((key.partition(" ")[2], kept))
        # The key of an intent is that of its instance and a field behind it, but for the first word.
        self.rows = [kept for part in parts for _, kept in sorted(part, key=itemgetter(0))]
        self.unreadable = len(image.unreadable)
        self.began_ms = self.asked_ms = now_ms


class ReadingDesk:
    def __init__(self, image: DurableImage, limits: ReadingLimits) -> None:
        self._image = image
        self._limits = limits
        self._readings: dict[int, Reading] = {}  # by index of the store

    def __len__(self) -> int:
        return len(self._readings)

    def page(self, body: ReadDurable, store: str, stale_since_ms: int, now: Now) -> OrderAnswer:
        """What is asked for, or why not."""
        self.expire(now)
        index = body.index or self._image.index
        reading = self._readings.get(index)
        if reading is None and body.index:
            sentence = f"what stood at index {index} is not held any more: the reader was too slow; begin anew"
            return _failed(Code.READING_OVER, sentence, "index")
        if reading is None and len(self._readings) >= self._limits.readings_max:
            sentence = f"{self._limits.readings_max} readings are under way already"
            return _failed(Code.READING_OVER, sentence, "index")
        if reading is None:
            reading = self._readings[index] = Reading(self._image, now.monotonic_ms)
        total = len(reading.rows)
        if body.position > (total if body.index else 0):
            sentence = f"a reading begins at 0, and this one has {total} rows"
            return _failed(Code.PARAMETER_INVALID, sentence, "position")
        reading.asked_ms = now.monotonic_ms
        rows = self._rows(reading, body.position)
        is_complete = body.position + len(rows) == total
        place = (store, index, body.position, total)
        page = DurablePage(*place, rows, is_complete, reading.unreadable, stale_since_ms)
        return OrderAnswer(Tag.DURABLE_PAGE, page)

    def expire(self, now: Now) -> None:
        """Give up what nobody reads, and what is read for too long."""
        asked_after_ms = now.monotonic_ms - self._limits.reading_idle_ms
        began_after_ms = now.monotonic_ms - self._limits.reading_ms
        self._readings = {
            index: reading
            for index, reading in self._readings.items()
            if reading.asked_ms > asked_after_ms and reading.began_ms > began_after_ms
        }

    def _rows(self, reading: Reading, position: int) -> DurableRows:
        """As many as a page holds, one at least if there are any."""
        rows: list[KeptRow] = []
        size_bytes = 0
        for kept in reading.rows[position : position + self._limits.page_rows_max]:
            row = given_row(kept)
            size_bytes += len(pack(row))
            if rows and size_bytes > self._limits.page_bytes_max:
                break
            rows.append(row)
        return durable_rows(rows)


def _failed(code: Code, sentence: str, field: str) -> OrderAnswer:
    return OrderAnswer(Tag.FAILED, Failed(code, sentence, field, retryable=code == Code.READING_OVER))
