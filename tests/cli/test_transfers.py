"""``rollbook backup``, ``restore``, ``export`` and ``import``: files that are whole or not there, and one line each."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rollbook.backup_file import BackupReader
from rollbook.cli import main
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.durable_bodies import PublishPersistent, PutNamespace, PutService, SetIntent
from rollbook.errors import Code
from rollbook.kept_rows import InstanceRow, IntentRow, KeptRow, NamespaceRow, ServiceRow, row_name
from rollbook.model import Instance, InstanceKey, Service
from rollbook.wire import Failed
from tests.support.small_registry import SmallRegistry

ORDERS = Service("public", "shop", "orders")
KEY = InstanceKey("10.0.0.1", 80)


def kept(port: int) -> InstanceRow:
    return InstanceRow(ORDERS, Instance("10.0.0.1", port, ephemeral=False), "ann", 7, 7)


def intent(key: InstanceKey, incarnation: str, expires_ms: int = 0) -> IntentRow:
    return IntentRow(ORDERS, key, Intent(enabled=False), incarnation, "bob", 8, expires_ms)


ROWS: list[KeptRow] = [
    ServiceRow(ORDERS, ServiceSettings(0.5), "ann", 7),
    NamespaceRow(Namespace("prod", "production"), "ann", 7),
    kept(80),
    kept(81),
    intent(KEY, "kept 7"),
]
UNAVAILABLE = Failed(Code.STORE_UNAVAILABLE, "nothing was written: it is away", retryable=True)


class Transferred:
    """A registry, a folder, and someone who types commands."""

    def __init__(self, registry: SmallRegistry, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.registry = registry
        self.rows = registry.rows
        self.folder = folder
        self.file = folder / "data"
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["--server", self.registry.address, *arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def done(self, command: str, *options: str) -> dict[str, Any]:
        code, out, err = self.run(command, str(self.file), "--json", *options)
        assert (code, err) == (0, "")
        said: dict[str, Any] = json.loads(out)
        return said

    def refused(self, exit_code: int, command: str, *options: str) -> str:
        code, out, err = self.run(command, str(self.file), *options)
        assert (code, out) == (exit_code, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1
        return err

    def orders(self, kind: type[Any]) -> list[Any]:
        return [body for body in list(self.registry.requests) if isinstance(body, kind)]


@pytest.fixture
def transferred(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Transferred]:
    with SmallRegistry() as registry:
        registry.rows.put(*ROWS)
        yield Transferred(registry, tmp_path, capsys)


def test_a_backup_holds_every_row_and_is_for_its_owner_alone(transferred: Transferred) -> None:
    said = transferred.done("backup")
    assert {kind: said[kind] for kind in ("services", "namespaces", "intents", "instances")} == {
        "services": 1,
        "namespaces": 1,
        "intents": 1,
        "instances": 2,
    }
    assert (said["event"], said["file"], said["store"], said["index"]) == (
        "backed up",
        str(transferred.file),
        "s1",
        41,
    )
    with transferred.file.open("rb") as file:
        assert [row for rows in BackupReader(file, "it").rows() for row in rows] == ROWS
    assert stat.S_IMODE(transferred.file.stat().st_mode) == 0o600
    assert os.listdir(transferred.folder) == ["data"]


def test_for_people_a_backup_says_what_it_holds(transferred: Transferred) -> None:
    code, out, err = transferred.run("backup", str(transferred.file))
    assert (code, err) == (0, "")
    what = f" backed up 1 service, 1 namespace, 1 intent, 2 instances to {transferred.file}  store index 41\n"
    assert out.endswith(what)


@pytest.mark.parametrize("command", ["backup", "export"])
def test_nothing_is_overwritten_unless_it_is_said(transferred: Transferred, command: str) -> None:
    transferred.file.write_text("mine")
    assert "is there already; --force overwrites it" in transferred.refused(2, command)
    assert transferred.file.read_text() == "mine"
    transferred.done(command, "--force")
    assert transferred.file.read_bytes() != b"mine"
    assert stat.S_IMODE(transferred.file.stat().st_mode) == 0o600
    assert os.listdir(transferred.folder) == ["data"]


@pytest.mark.parametrize("command", ["backup", "export"])
def test_what_is_no_plain_file_is_not_overwritten_at_all(transferred: Transferred, command: str) -> None:
    transferred.file.mkdir()
    assert "is no plain file" in transferred.refused(2, command, "--force")


@pytest.mark.parametrize("command", ["backup", "export"])
def test_a_file_that_came_there_meanwhile_is_left_alone(
    transferred: Transferred, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.fsync

    def synced(descriptor: int) -> None:
        transferred.file.write_text("theirs")
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    assert "has come there meanwhile" in transferred.refused(2, command)
    assert transferred.file.read_text() == "theirs"
    assert os.listdir(transferred.folder) == ["data"]


@pytest.mark.parametrize("command", ["backup", "export", "restore", "import"])
def test_a_place_that_cannot_be_used_is_one_line(transferred: Transferred, command: str) -> None:
    transferred.file = transferred.folder / "nowhere" / "data"
    assert "No such file or directory" in transferred.refused(2, command)


@pytest.mark.parametrize("command", ["backup", "export"])
def test_of_a_reading_that_breaks_off_no_file_is_left(transferred: Transferred, command: str) -> None:
    transferred.rows.is_forgetful = True
    assert f"(code {int(Code.READING_OVER)})" in transferred.refused(1, command)
    assert os.listdir(transferred.folder) == []


@pytest.mark.parametrize("command", ["backup", "export"])
def test_what_may_be_old_is_taken_only_if_it_is_said(transferred: Transferred, command: str) -> None:
    transferred.rows.stale_since_ms = 1_700_000_000_000
    assert f"(code {int(Code.STORE_UNAVAILABLE)})" in transferred.refused(1, command)
    assert os.listdir(transferred.folder) == []
    code, _, err = transferred.run(command, str(transferred.file), "--stale")
    assert code == 0
    assert "the node cannot follow the store since 20" in err


@pytest.mark.parametrize("command", ["backup", "export"])
def test_rows_that_the_node_cannot_read_are_left_out_only_if_it_is_said(transferred: Transferred, command: str) -> None:
    transferred.rows.unreadable = 3
    assert "cannot read 3 rows" in transferred.refused(1, command)
    assert os.listdir(transferred.folder) == []
    code, _, err = transferred.run(command, str(transferred.file), "--without-unreadable")
    assert (code, err) == (0, "3 rows of the store are left out: the node cannot read them\n")


def test_a_restore_puts_every_row_back_as_it_was(transferred: Transferred) -> None:
    transferred.done("backup")
    transferred.rows.held.clear()
    said = transferred.done("restore")
    assert list(transferred.rows.held.values()) == ROWS
    assert (said["event"], said["instances"], said["rows_there_already"]) == ("restored", 2, 0)


def test_a_restore_that_was_interrupted_goes_on(transferred: Transferred) -> None:
    transferred.done("backup")
    del transferred.rows.held[row_name(kept(81))]
    said = transferred.done("restore")
    assert (said["rows_there_already"], transferred.rows.restored) == (4, [1])
    assert transferred.rows.held == {row_name(row): row for row in ROWS}


def test_a_store_that_is_not_empty_is_not_restored_into(transferred: Transferred) -> None:
    transferred.done("backup")
    transferred.rows.put(kept(99))
    assert "only an empty store is restored into, and this one holds 1 instance" in transferred.refused(1, "restore")
    assert transferred.rows.restored == []


def test_a_refused_write_is_said_again_as_long_as_that_can_help(transferred: Transferred) -> None:
    transferred.done("backup")
    transferred.rows.held.clear()
    transferred.rows.refusals = [UNAVAILABLE]
    code, _, err = transferred.run("restore", str(transferred.file))
    assert (code, err) == (0, "said again until it is done: nothing was written: it is away\n")
    assert transferred.rows.restored == [5]


def test_without_patience_a_refused_write_says_where_to_go_on(transferred: Transferred) -> None:
    transferred.done("backup")
    transferred.rows.held.clear()
    transferred.rows.refusals = [UNAVAILABLE]
    code, out, err = transferred.run("restore", str(transferred.file), "--patience", "0")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "0 of 5 rows were written; the same command goes on from there",
        f"error: nothing was written: it is away (code {int(Code.STORE_UNAVAILABLE)})",
    ]


def test_a_damaged_backup_is_refused_before_anybody_is_asked(transferred: Transferred) -> None:
    transferred.done("backup")
    transferred.rows.held.clear()
    payload = transferred.file.read_bytes()
    asked = len(transferred.registry.requests)
    for broken in (
        payload[:-1],
        payload.replace(b"ann", b"anm", 1),
        b"hello",
        payload.replace(b"backup 1", b"backup 2"),
    ):
        transferred.file.write_bytes(broken)
        assert "cannot be restored: it " in transferred.refused(2, "restore")
    assert len(transferred.registry.requests) == asked


def test_an_export_is_what_an_import_takes(transferred: Transferred) -> None:
    said = transferred.done("export")
    assert (said["event"], said["intents"], said["instances"], said["left_out"]) == ("exported", 1, 2, 0)
    said = transferred.done("import")
    assert (said["event"], said["services"], said["namespaces"], said["intents"], said["instances"]) == (
        *("imported", 1, 1, 1),
        2,
    )
    [service] = transferred.orders(PutService)
    assert (service.service, service.settings, service.mode) == (ORDERS, ServiceSettings(0.5), "put")
    [namespace] = transferred.orders(PutNamespace)
    assert namespace.namespace == Namespace("prod", "production")
    [published] = transferred.orders(PublishPersistent)
    assert [instance.port for instance in published.instances] == [80, 81]
    [wanted] = transferred.orders(SetIntent)
    assert (wanted.key, wanted.intent, wanted.for_ms) == (KEY, Intent(enabled=False), 0)


def test_each_decision_about_an_instance_has_a_line_and_an_order_of_its_own(transferred: Transferred) -> None:
    weight = msgspec.structs.replace(intent(KEY, "kept 7"), intent=Intent(weight=2.0), author="ann")
    transferred.rows.put(weight)
    assert transferred.done("export")["intents"] == 2
    lines = [json.loads(line) for line in transferred.file.read_text().splitlines()]
    said = [(line["enabled"], line["weight"], line["author"]) for line in lines if line["kind"] == "intent"]
    assert said == [(False, None, "bob"), (None, 2.0, "ann")]
    assert transferred.done("import")["intents"] == 2
    assert [wanted.intent for wanted in transferred.orders(SetIntent)] == [Intent(enabled=False), Intent(weight=2.0)]


def test_intents_that_say_nothing_to_anybody_else_are_no_part_of_an_export(transferred: Transferred) -> None:
    transferred.rows.put(
        intent(KEY, "kept 6"),  # of an earlier incarnation
        intent(InstanceKey("10.0.0.1", 81), "kept 7", expires_ms=9),  # over
        intent(InstanceKey("10.0.0.2", 80), "client-1"),  # of an ephemeral instance
    )
    code, out, err = transferred.run("export", str(transferred.file))
    assert (code, "1 service, 1 namespace, 2 instances to" in out) == (0, True)
    assert err.endswith("about no persistent instance: 3\n")
    assert b'"kind":"intent"' not in transferred.file.read_bytes()


def test_an_export_goes_through_a_pipe_into_an_import(
    transferred: Transferred, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = transferred.run("export", "-")
    assert (code, err) == (0, "exported 1 service, 1 namespace, 1 intent, 2 instances  store index 41\n")
    assert [json.loads(line)["kind"] for line in out.splitlines()] == [
        *("header", "service", "namespace", "instance", "instance", "intent")
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(out.encode())))
    code, out, err = transferred.run("import", "-")
    assert (code, err) == (0, "")
    assert out.endswith(" imported 1 service, 1 namespace, 1 intent, 2 instances from -\n")


def test_of_a_file_with_one_bad_line_nothing_is_written(transferred: Transferred) -> None:
    transferred.done("export")
    asked = len(transferred.registry.requests)
    with transferred.file.open("ab") as file:
        file.write(b'{"kind":"instance","service":"orders","ip":"10.0.0.1","port":"80"}\n')
    assert "line 7: port: " in transferred.refused(2, "import")
    assert len(transferred.registry.requests) == asked


def test_an_end_that_no_intent_can_have_is_found_before_anything_is_written(transferred: Transferred) -> None:
    head = {"kind": "header", "format": "rollbook export", "version": 1}
    kept_line = {"kind": "instance", "service": "orders", "ip": "10.0.0.1", "port": 80}
    wanted = {**kept_line, "kind": "intent", "enabled": False, "expires_ms": 1 << 43}
    transferred.file.write_text("\n".join(map(json.dumps, [head, kept_line, wanted])))
    assert "line 3: expires_ms: " in transferred.refused(2, "import")
    assert transferred.orders(PublishPersistent) == []


def test_intents_that_cannot_be_set_are_named_by_their_lines(transferred: Transferred) -> None:
    head = {"kind": "header", "format": "rollbook export", "version": 1}
    wanted = {"kind": "intent", "service": "orders", "ip": "10.0.0.9", "port": 80, "enabled": False}
    lines = [head, wanted, {**wanted, "port": 81, "expires_ms": 5}]
    transferred.file.write_text("\n".join(map(json.dumps, lines)))
    code, out, err = transferred.run("import", str(transferred.file))
    assert (code, " imported nothing from " in out) == (1, True)
    assert err.splitlines() == [
        "line 2: the intent was left out: no such instance is listed",
        "line 3: the intent was left out: it has expired",
    ]


def test_many_instances_are_imported_in_several_orders_and_in_several_namespaces(transferred: Transferred) -> None:
    head = {"kind": "header", "format": "rollbook export", "version": 1}
    kept_lines = [
        {"kind": "instance", "namespace": namespace, "service": "orders", "ip": "10.0.0.1", "port": port}
        for namespace in ("dev", "public")
        for port in range(61)
    ]
    transferred.file.write_text("\n".join(map(json.dumps, [head, *kept_lines])))
    assert transferred.done("import")["instances"] == 122
    sizes = [(body.service.namespace, len(body.instances)) for body in transferred.orders(PublishPersistent)]
    assert sizes == [("dev", 60), ("dev", 1), ("public", 60), ("public", 1)]


@pytest.mark.parametrize("command", ["backup", "restore", "export", "import"])
def test_the_help_says_that_ephemeral_data_is_no_part_of_it(transferred: Transferred, command: str) -> None:
    code, out, _ = transferred.run(command, "--help")
    assert (code, "phemeral instances" in " ".join(out.split())) == (0, True)
