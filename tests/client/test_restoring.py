"""What is left to restore: what is missing, in portions, and nothing at all where the store holds anything else."""

from __future__ import annotations

import io

import msgspec
import pytest

from rollbook.backup_file import BackupHeader, BackupReader, BackupWriter
from rollbook.checkers import CheckerSettings
from rollbook.codec import pack
from rollbook.durable import ServiceSettings
from rollbook.durable_bodies import PERSISTENT_PER_ORDER_MAX
from rollbook.errors import Code, InvalidField, Refused
from rollbook.kept_rows import DurablePage, InstanceRow, KeptRow, ServiceRow, durable_rows
from rollbook.model import Instance, Service
from rollbook.restoring import ORDER_BYTES_MAX, Restoring, counts_text

ORDERS = Service("public", "shop", "orders")
SERVICE_ROW = ServiceRow(ORDERS, ServiceSettings(0.5), "ann", 7)


def kept(port: int) -> InstanceRow:
    return InstanceRow(ORDERS, Instance("10.0.0.1", port, ephemeral=False), "ann", 7, 7)


ROWS: list[KeptRow] = [SERVICE_ROW, *map(kept, range(3))]


def restoring(rows: list[KeptRow], *, pages: int = 1) -> Restoring:
    file = io.BytesIO()
    writer = BackupWriter(file, BackupHeader("s1", 41, len(rows), 5))
    for page in range(pages):
        writer.add(durable_rows(rows[page::pages]))
    writer.finish()
    return Restoring(BackupReader(file, "b.backup"))


def verified(rows: list[KeptRow]) -> Restoring:
    made = restoring(rows)
    assert sum(made.verify()) == len(rows)
    return made


def page(*rows: KeptRow, is_complete: bool = True, unreadable: int = 0) -> DurablePage:
    return DurablePage("s2", 9, 0, len(rows), durable_rows(list(rows)), is_complete, unreadable)


def ordered(made: Restoring) -> list[KeptRow]:
    return [row for rows in made.orders() for row in rows]


def test_into_an_empty_store_everything_is_written() -> None:
    made = verified(ROWS)
    made.compare(page())
    assert (made.missing, ordered(made)) == (4, ROWS)
    assert made.counts.facts() == {"services": 1, "namespaces": 0, "intents": 0, "instances": 3}


def test_after_an_interruption_only_what_is_missing_is_written() -> None:
    made = verified(ROWS)
    made.compare(page(SERVICE_ROW, is_complete=False))
    made.compare(page(kept(1)))
    assert (made.missing, ordered(made)) == (2, [kept(0), kept(2)])


def test_where_everything_is_there_nothing_is_written() -> None:
    made = verified(ROWS)
    made.compare(page(*ROWS))
    assert (made.missing, list(made.orders())) == (0, [])


@pytest.mark.parametrize(
    "other", [kept(9), msgspec.structs.replace(SERVICE_ROW, written_ms=8)], ids=["more", "changed"]
)
def test_a_store_with_anything_else_is_refused_when_all_of_it_was_seen(other: KeptRow) -> None:
    made = verified(ROWS)
    made.compare(page(other, is_complete=False))
    with pytest.raises(Refused) as raised:
        made.compare(page(kept(1)))
    assert raised.value.code == Code.SERVICE_EXISTS
    what = "1 instance" if isinstance(other, InstanceRow) else "1 service"
    assert f"this one holds {what} that the backup does not hold" in raised.value.message


def test_a_store_with_rows_that_nobody_can_read_is_not_empty() -> None:
    with pytest.raises(Refused, match="3 rows that its node cannot read"):
        verified(ROWS).compare(page(unreadable=3))


def test_orders_hold_no_more_rows_and_bytes_than_they_may() -> None:
    many = verified([kept(port) for port in range(PERSISTENT_PER_ORDER_MAX + 1)])
    assert [len(rows) for rows in many.orders()] == [PERSISTENT_PER_ORDER_MAX, 1]
    checkers = {f"c{number}": CheckerSettings("http", path="/" + "p" * 1_000) for number in range(64)}
    settings = ServiceSettings(checkers=checkers)
    large = [ServiceRow(ORDERS._replace(name=f"s{number}"), settings, "ann", 7) for number in range(3)]
    assert len(pack(large[:2])) < ORDER_BYTES_MAX < len(pack(large))
    assert [len(rows) for rows in verified([*large]).orders()] == [2, 1]


def test_a_row_that_occurs_twice_is_found_also_where_pages_lie_between() -> None:
    made = restoring([kept(1), kept(1)], pages=2)
    assert sum(1 for _ in restoring([kept(1), kept(2)], pages=2).verify()) == 2
    with pytest.raises(InvalidField, match="occurs twice"):
        sum(made.verify())


def test_counts_are_said_for_people() -> None:
    assert counts_text({"services": 1, "namespaces": 0, "intents": 2, "instances": 1_000}) == (
        "1 service, 2 intents, 1,000 instances"
    )
    assert counts_text({"services": 0}) == "nothing"
