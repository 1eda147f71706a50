"""The mark of a restore that is not finished, and the txns that look at it: while it stands nothing else is changed."""

from __future__ import annotations

import msgspec

from runtime.store.etcd_gateway import AnswerHeader, KeyValue, answer_decoder

RESTORING = "a restore into this store is not finished: wait for it, or restore again"


class FoundKeys(msgspec.Struct):
    kvs: list[KeyValue] = []


class TxnPart(msgspec.Struct):
    response_range: FoundKeys | None = None


class TxnAnswer(msgspec.Struct):
    """The only range that is asked for within a txn is the mark, and only if the txn did not succeed."""

    header: AnswerHeader
    succeeded: bool = False
    responses: list[TxnPart] = []

    @property
    def mark(self) -> KeyValue | None:
        ranges = [part.response_range for part in self.responses if part.response_range is not None]
        return next((mark for each in ranges for mark in each.kvs), None)


TXN_ANSWER = answer_decoder(TxnAnswer)


def mark_key(key_prefix: str) -> bytes:
    """No key of a row begins with NUL, so it is none of them."""
    return key_prefix.encode() + b"\0restore"


def mark_stands_at(key_prefix: str, revision: int) -> dict[str, object]:
    """For the comparisons of a txn; 0: there is none."""
    return {"key": mark_key(key_prefix), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def mark_question(key_prefix: str) -> dict[str, object]:
    """For a txn that did not succeed: whether it was because of the mark."""
    return {"request_range": {"key": mark_key(key_prefix)}}
