"""Backup and restore at real nodes, with commands that are processes of their own: everything comes back as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rollbook import CheckerSettings, NamingClient, Refused
from rollbook.backup_file import BackupHeader, BackupReader, BackupWriter
from rollbook.errors import Code
from rollbook.kept_rows import DurableRows, InstanceRow, KeptRow
from rollbook.model import Instance, Service
from tests.cli.test_interrupts import listens_to_interrupts
from tests.cluster.test_persistent_nodes import rollbook, typed
from tests.support.real_cluster import ROOT, RealCluster, RealNode, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

UNPROBED = {"DEFAULT": CheckerSettings("none")}
MANY = 3_000


def fill(node: RealNode) -> None:
    """Some of every kind, in two namespaces, and something ephemeral beside it that an operator has decided about."""
    with NamingClient(node.client_address, namespace="prod", timeout=5.0) as client:
        client.admin.put_namespace("prod", "production")
        client.admin.put_service("orders", protection_threshold=0.25, checkers=UNPROBED)
        for port in (80, 81, 82):
            client.register_instance("orders", "10.0.0.1", port, metadata={"zone": "a"}, ephemeral=False)
        client.admin.set_intent("orders", "10.0.0.1", 81, enabled=False)
        client.admin.set_intent("orders", "10.0.0.1", 82, weight=0.5, for_seconds=3_600)
        client.admin.set_intent("orders", "10.0.0.1", 82, enabled=False)


def rows_in(file: Path) -> list[KeptRow]:
    with file.open("rb") as opened:
        return [row for rows in BackupReader(opened, str(file)).rows() for row in rows]


def shown(node: RealNode) -> Any:
    """What callers and operators are shown."""
    with NamingClient(node.client_address, namespace="prod", timeout=5.0) as client:
        found = client.get_all_instances("orders", subscribe=False)
        kept = client.admin.get_service("orders")
        intents = [(intent.key, intent.intent, intent.author, intent.expires_ms) for intent in kept.intents]
        listed = sorted([*found, *found.disabled], key=lambda instance: instance.port)
        return listed, kept.settings, kept.author, kept.written_ms, intents, client.admin.list_namespaces()


def one_of_many(number: int) -> InstanceRow:
    instance = Instance(f"10.0.{number // 200}.{number % 200}", 80, ephemeral=False)
    return InstanceRow(Service("public", "DEFAULT_GROUP", f"s{number % 100:02}"), instance, "ann", 7, 7)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_what_was_backed_up_is_restored_at_other_nodes_and_nobody_can_tell_them_apart(
    tmp_path: Path, before: int, after: int
) -> None:
    first, second = tmp_path / "first.backup", tmp_path / "second.backup"
    with RealCluster(tmp_path / "before", before) as cluster:
        node = cluster.nodes[-1]
        fill(node)
        assert rollbook(node, "backup", str(first))[0] == 0
        wanted = shown(node)
    assert [instance.enabled for instance in wanted[0]] == [True, False, False]
    with RealCluster(tmp_path / "after", after) as cluster:
        node = cluster.nodes[-1]
        code, said = rollbook(node, "restore", str(first))
        assert (code, said["event"], said["instances"], said["rows_there_already"]) == (0, "restored", 3, 0)
        assert rollbook(node, "restore", str(first))[1]["rows_there_already"] == 8
        assert rollbook(node, "backup", str(second))[0] == 0
        until(lambda: all(shown(each) == wanted for each in cluster), 20, "every node shows what was backed up")
        with NamingClient(node.client_address, namespace="prod", timeout=5.0) as client:
            client.register_instance("orders", "10.0.0.1", 83, ephemeral=False)
        refused = typed(node, "restore", str(first))
        assert (refused.returncode, "this one holds 1 instance that the backup" in refused.stderr) == (1, True)
    assert rows_in(second) == rows_in(first)


def test_a_restore_that_was_interrupted_is_said_again_and_ends_with_the_same(tmp_path: Path) -> None:
    wanted = list(map(one_of_many, range(MANY)))
    file, again = tmp_path / "many.backup", tmp_path / "again.backup"
    with file.open("wb") as opened:
        writer = BackupWriter(opened, BackupHeader("made", 1, MANY, 5))
        for start in range(0, MANY, 500):
            writer.add(DurableRows(instances=tuple(wanted[start : start + 500])))
        writer.finish()
    with RealCluster(tmp_path / "nodes", 1) as cluster:
        node = cluster.nodes[0]
        command = [sys.executable, "-m", "rollbook.cli", "--server", node.client_address, "restore", str(file)]
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=listens_to_interrupts
        )

        def rows() -> int:
            status = node.status()
            return 0 if status is None else status.durable.rows

        until(lambda: rows() > MANY // 20, 60, "the restore is under way")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, "Traceback" in err) == (130, False)
        code, said = rollbook(node, "restore", str(file))
        assert (code, said["event"]) == (0, "restored")
        assert 0 < said["rows_there_already"] < MANY
        assert rollbook(node, "backup", str(again))[0] == 0
    assert sorted(map(repr, rows_in(again))) == sorted(map(repr, wanted))


def test_without_the_node_that_keeps_the_data_the_others_give_what_they_have_to_whoever_says_so(tmp_path: Path) -> None:
    file = tmp_path / "rescued.backup"
    with RealCluster(tmp_path / "nodes", 3) as cluster:
        home, other, _ = cluster
        fill(other)
        home.kill()

        def is_refused() -> bool:
            done = typed(other, "backup", str(file), "--force")
            return done.returncode == 1 and f"(code {int(Code.STORE_UNAVAILABLE)})" in done.stderr

        until(is_refused, 20, "it is known that the store is away")
        done = typed(other, "backup", str(file), "--stale", "--force")
        assert (done.returncode, "cannot follow the store since" in done.stderr) == (0, True)
        assert len(rows_in(file)) == 8
        refused = typed(other, "restore", str(file))
        assert (refused.returncode, f"(code {int(Code.STORE_UNAVAILABLE)})" in refused.stderr) == (1, True)


def test_rows_of_a_service_with_ephemeral_instances_are_refused(tmp_path: Path) -> None:
    orders = Service("public", "DEFAULT_GROUP", "orders")
    row = InstanceRow(orders, Instance("10.0.0.1", 80, ephemeral=False), "ann", 7, 7)
    with (
        RealCluster(tmp_path, 1) as cluster,
        NamingClient(cluster.nodes[0].client_address, timeout=5.0) as client,
    ):
        client.register_instance("orders", "10.0.0.9", 80)
        with pytest.raises(Refused) as raised:
            client.admin.restore_rows(DurableRows(instances=(row,)))
        assert (raised.value.code, raised.value.field) == (Code.KIND_MISMATCH, "rows")
        client.deregister_instance("orders", "10.0.0.9", 80)
        client.admin.restore_rows(DurableRows(instances=(row,)))
        assert [instance.ip for instance in client.get_all_instances("orders")] == ["10.0.0.1"]


def test_an_export_of_one_cluster_is_imported_into_another(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    with RealCluster(tmp_path / "before", 1) as cluster:
        fill(cluster.nodes[0])
        assert rollbook(cluster.nodes[0], "export", str(file))[0] == 0
        wanted = shown(cluster.nodes[0])
    with RealCluster(tmp_path / "after", 1) as cluster:
        for _ in range(2):  # what is said again stands in the place of itself
            code, said = rollbook(cluster.nodes[0], "import", str(file))
            assert (code, said["instances"], said["intents"]) == (0, 3, 3)
        found = shown(cluster.nodes[0])
    assert found[:2] == wanted[:2]
    assert found[-1] == wanted[-1]
    assert [(key, intent) for key, intent, *_ in found[4]] == [(key, intent) for key, intent, *_ in wanted[4]]
    assert json.loads(file.read_text().splitlines()[0])["kind"] == "header"
    assert os.stat(file).st_mode & 0o777 == 0o600
