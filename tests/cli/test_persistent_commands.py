"""``rollbook register --persistent``, ``rollbook deregister``, and how lists tell both kinds apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rollbook import NamingClient, Service
from rollbook.cli import main
from rollbook.model import Instance
from tests.support.small_registry import SmallRegistry

ORDERS = Service("public", "DEFAULT_GROUP", "orders")


class Operated:
    """A registry, and someone who types commands."""

    def __init__(self, registry: SmallRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        self.registry = registry
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["--server", self.registry.address, *arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run("--json", *arguments)
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def operated(capsys: pytest.CaptureFixture[str]) -> Iterator[Operated]:
    with SmallRegistry() as registry:
        yield Operated(registry, capsys)


def test_a_persistent_instance_is_written_and_the_command_returns(operated: Operated) -> None:
    options = ["--persistent", "--weight", "2", "--metadata", "zone=a", "--cluster", "EAST"]
    code, out, err = operated.run("register", "orders", "10.0.0.1:80", *options)
    assert (code, err) == (0, "")
    assert out.endswith(" registered DEFAULT_GROUP@@orders  10.0.0.1:80  cluster EAST  weight 2  persistent  zone=a\n")
    [kept] = operated.registry.instances(ORDERS).values()
    assert kept == Instance("10.0.0.1", 80, "EAST", 2.0, ephemeral=False, metadata={"zone": "a"})


def test_it_is_deregistered_by_anyone_and_once_more_is_no_error(operated: Operated) -> None:
    for port in (80, 81):
        operated.run("register", "orders", f"[::1]:{port}", "--persistent")
    for _ in range(2):
        code, out, err = operated.run("deregister", "orders", "[::1]:80")
        assert (code, err) == (0, "")
        assert out.endswith(" deregistered DEFAULT_GROUP@@orders  [::1]:80  persistent\n")
    assert [key.port for key in operated.registry.instances(ORDERS)] == [81]


def test_an_instance_of_another_cluster_is_another_instance(operated: Operated) -> None:
    operated.run("register", "orders", "10.0.0.1:80", "--persistent", "--cluster", "EAST")
    operated.run("deregister", "orders", "10.0.0.1:80")
    assert len(operated.registry.instances(ORDERS)) == 1
    operated.run("deregister", "DEFAULT_GROUP@@orders", "10.0.0.1:80", "--cluster", "EAST")
    assert operated.registry.instances(ORDERS) == {}


def test_an_ephemeral_instance_is_not_said_to_be_deregistered(operated: Operated) -> None:
    with NamingClient(operated.registry.address) as holder:
        holder.register_instance("orders", "10.0.0.1", 80)
        code, out, err = operated.run("deregister", "orders", "10.0.0.1:80")
    assert (code, out) == (1, "")
    assert err == "10.0.0.1:80 is listed still: it is ephemeral, and its client holds it\n"


def test_both_commands_speak_json(operated: Operated) -> None:
    for command, event in ((["register", "--persistent"], "registered"), (["deregister"], "deregistered")):
        said = operated.json(*command, "orders", "10.0.0.1:80")
        assert (said["event"], said["service"]) == (event, "DEFAULT_GROUP@@orders")
        assert (said["instance"]["port"], said["instance"]["ephemeral"]) == (80, False)


def test_a_list_names_kinds_only_where_something_persistent_stands_in_it(operated: Operated) -> None:
    with NamingClient(operated.registry.address) as holder:
        holder.register_instance("orders", "10.0.0.1", 80)
        assert "kind" not in operated.run("instances", "orders")[1]
        operated.run("register", "orders", "10.0.0.1:81", "--persistent")
        head, _, first, second, *_ = operated.run("instances", "orders")[1].splitlines()
        assert head.split()[:3] == ["address", "kind", "cluster"]
        assert first.split()[:3] == ["10.0.0.1:80", "ephemeral", "DEFAULT"]
        assert second.split()[:3] == ["10.0.0.1:81", "persistent", "DEFAULT"]


def test_a_list_as_json_says_of_each_whether_it_is_ephemeral_and_since_when_the_store_is_out_of_reach(
    operated: Operated,
) -> None:
    operated.run("register", "orders", "10.0.0.1:80", "--persistent")
    listed = operated.json("instances", "orders")
    assert [instance["ephemeral"] for instance in listed["instances"]] == [False]
    assert listed["stale_since_ms"] == 0
