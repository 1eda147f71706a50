"""The file of a backup: what was written is read, and nothing else passes for it."""

from __future__ import annotations

import io

import pytest

from rollbook.backup_file import FORMAT, BackupHeader, BackupReader, BackupWriter
from rollbook.durable import Namespace
from rollbook.errors import InvalidField
from rollbook.kept_rows import DurableRows, NamespaceRow

HEADER = BackupHeader("s1", 41, 3, 1_700_000_000_000)


def row(name: str) -> NamespaceRow:
    return NamespaceRow(Namespace(name, "any"), "ann", 7)


PAGES = [DurableRows(namespaces=(row("a"), row("b"))), DurableRows(namespaces=(row("c"),))]


def written(header: BackupHeader = HEADER, pages: list[DurableRows] = PAGES) -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file, header)
    for rows in pages:
        writer.add(rows)
    writer.finish()
    return file.getvalue()


def read(payload: bytes) -> list[DurableRows]:
    return list(BackupReader(io.BytesIO(payload), "b.backup").rows())


def refused(payload: bytes) -> str:
    with pytest.raises(InvalidField) as raised:
        read(payload)
    assert raised.value.field == "FILE"
    assert "b.backup cannot be restored: " in raised.value.message
    return raised.value.message


def test_what_was_written_is_read_as_often_as_it_is_asked_for() -> None:
    reader = BackupReader(io.BytesIO(written()), "b.backup")
    assert reader.header == HEADER
    assert [list(reader.rows()) for _ in range(2)] == [PAGES, PAGES]


def test_a_backup_of_nothing_is_a_backup() -> None:
    assert read(written(BackupHeader("s1", 1, 0, 5), [])) == []


def test_a_file_that_is_cut_off_anywhere_is_refused() -> None:
    payload = written()
    for length in range(len(payload)):
        assert refused(payload[:length])


def test_a_file_with_one_wrong_byte_anywhere_is_refused() -> None:
    payload = written()
    for place in range(len(payload)):
        assert refused(payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :])


def test_what_stands_behind_the_end_is_refused() -> None:
    assert "checksum" in refused(written() + b"\0")


def test_a_newer_format_is_refused_naming_both() -> None:
    newer = written().replace(b"rollbook backup 1\n", b"rollbook backup 12\n")
    message = refused(newer)
    assert f"it has format 12, and this version reads up to {FORMAT}: use a newer rollbook" in message


@pytest.mark.parametrize("foreign", [b"", b"PK\x03\x04" + bytes(64), b'{"kind":"header"}\n', b"rollbook backup x\n"])
def test_a_foreign_file_is_no_backup(foreign: bytes) -> None:
    assert refused(foreign).endswith("it is no backup of rollbook")


def test_a_file_with_fewer_or_more_rows_than_it_says_is_refused() -> None:
    for pages, count in ((PAGES[:1], 2), ([*PAGES, DurableRows(namespaces=(row("d"),))], 4)):
        assert f"should hold 3 rows, and holds {count}" in refused(written(pages=pages))


def test_a_row_that_breaks_a_rule_is_refused_though_the_checksum_is_right() -> None:
    message = refused(written(pages=[PAGES[0], DurableRows(namespaces=(row("two words"),))]))
    assert "a row behind the 2th breaks a rule: namespace" in message
