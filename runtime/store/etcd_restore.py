"""Filling an empty etcd with rows: to whoever reads or writes, all of them are there or none.

etcd takes no more than some operations at once, so a restore is many changes. Before the first a mark is put where no
row can be; with the last it goes. While it is there every write and every read of the store is refused, so nobody works
with half of the rows; a watch hears of them piece by piece. A restore that fails takes its rows back. One whose process
died leaves the mark, which the status shows; the next one then begins with an empty store, as it does if the other is
only slow: that one ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from actors.messages.store import Operation
from runtime.store.etcd_gateway import GatewayLink, encode_request
from runtime.store.etcd_lane import ask_patiently
from runtime.store.etcd_mark import TXN_ANSWER, TxnAnswer, mark_key, mark_question, mark_stands_at
from runtime.store.etcd_reads import row_range
from runtime.store.port import FateUnknown, StoreFault

NOT_EMPTY = "only an empty store can be restored into; this one has rows"
OVERTAKEN = "another restore into this store was begun: this one has ended"

Request = dict[str, object]


class EtcdRestore:
    """One attempt, on one thread. Each step may be repeated: it asks for its own mark, and says what is to be there."""

    def __init__(self, link: GatewayLink, key_prefix: str) -> None:
        self._link = link
        self._key_prefix = key_prefix
        self._mark = mark_key(key_prefix)
        self._first, self._end = row_range(key_prefix, "")
        self._token = os.urandom(8)
        self._marked_at = 0

    def run(self, batches: Sequence[Sequence[Operation]]) -> None:
        self._begin()
        try:
            for batch in batches:
                self._put(batch)
        except StoreFault as fault:
            raise self._taken_back(fault) from None
        self._finish()

    def _begin(self) -> None:
        is_empty = {"key": self._first, "range_end": self._end, "target": "MOD", "result": "EQUAL", "mod_revision": 0}
        answer = self._change([mark_stands_at(self._key_prefix, 0), is_empty], [self._put_mark()])
        if answer.succeeded:
            self._marked_at = answer.header.revision
        elif (mark := answer.mark) is None:
            raise StoreFault(NOT_EMPTY)
        elif mark.value == self._token:  # the answer to an attempt before this one was lost
            self._marked_at = mark.mod_revision
        else:
            self._begin_again(mark.mod_revision)

    def _begin_again(self, marked_at: int) -> None:
        """While a mark stood nobody else could write, so all that is here is of the restore that left it."""
        answer = self._change([mark_stands_at(self._key_prefix, marked_at)], [self._delete_rows(), self._put_mark()])
        if answer.succeeded:
            self._marked_at = answer.header.revision
        elif (mark := answer.mark) is not None and mark.value == self._token:
            self._marked_at = mark.mod_revision
        else:
            raise StoreFault(OVERTAKEN)

    def _put(self, batch: Sequence[Operation]) -> None:
        puts: list[Request] = [
            {"request_put": {"key": (self._key_prefix + operation.key).encode(), "value": operation.value}}
            for operation in batch
        ]
        if not self._change([mark_stands_at(self._key_prefix, self._marked_at)], puts).succeeded:
            raise StoreFault(OVERTAKEN)

    def _finish(self) -> None:
        answer = self._change([mark_stands_at(self._key_prefix, self._marked_at)], [self._delete_mark()])
        if not answer.succeeded:
            raise FateUnknown("the mark of this restore has gone: all of the rows are there, or those of another")

    def _taken_back(self, fault: StoreFault) -> StoreFault:
        undo = [self._delete_rows(), self._delete_mark()]
        try:
            self._change([mark_stands_at(self._key_prefix, self._marked_at)], undo)
        except StoreFault as trouble:
            return StoreFault(f"the restore was not finished ({fault}) nor taken back ({trouble}): restore again")
        return fault

    def _change(self, compare: Sequence[Request], success: Sequence[Request]) -> TxnAnswer:
        question = [mark_question(self._key_prefix)]
        request = encode_request({"compare": compare, "success": success, "failure": question})
        deadline = time.monotonic() + self._link.settings.piece_ms_max / 1_000
        return ask_patiently(
            self._link, lambda until: self._link.ask("/v3/kv/txn", request, TXN_ANSWER, until), deadline
        )

    def _put_mark(self) -> Request:
        return {"request_put": {"key": self._mark, "value": self._token}}

    def _delete_mark(self) -> Request:
        return {"request_delete_range": {"key": self._mark}}

    def _delete_rows(self) -> Request:
        return {"request_delete_range": {"key": self._first, "range_end": self._end}}
