"""``rollbook service``, ``namespace``, ``offline``, ``weight``, ``online``, and how lists show what was decided."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from rollbook import NamingClient, Service
from rollbook.checkers import CheckerSettings
from rollbook.cli import main
from rollbook.cli.author import author_id
from rollbook.cli.options import parse_checker
from rollbook.cli.output import time_text
from rollbook.cli.service import checker_text
from rollbook.durable import Intent, Namespace, ServiceSettings
from rollbook.errors import InvalidField
from rollbook.model import InstanceKey, check_client_id
from tests.support.small_decisions import WRITTEN_MS
from tests.support.small_registry import SmallRegistry

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
FIRST, SECOND = InstanceKey("10.0.0.1", 80), InstanceKey("10.0.0.1", 81)
AUTHOR = r"\S+@\S+/[0-9a-f]{8}"


class Decided:
    """A registry with two instances of orders, and someone who types commands."""

    def __init__(self, registry: SmallRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        self.decisions = registry.decisions
        self._address = registry.address
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(["--server", self._address, *arguments])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def said(self, *arguments: str) -> str:
        """What a command that succeeds says, without the time of day before it."""
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, "")
        return re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "", out)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.said("--json", *arguments))

    @property
    def intents(self) -> list[tuple[InstanceKey, Intent]]:
        return [(shown.key, shown.intent) for _, shown in sorted(self.decisions.intents.get(ORDERS, {}).items())]


@pytest.fixture
def decided(capsys: pytest.CaptureFixture[str]) -> Iterator[Decided]:
    with SmallRegistry() as registry, NamingClient(registry.address) as holder:
        holder.register_instance("orders", FIRST.ip, FIRST.port)
        holder.register_instance("orders", SECOND.ip, SECOND.port)
        yield Decided(registry, capsys)


# -- instances


def test_an_instance_is_taken_out_of_service_and_put_back(decided: Decided) -> None:
    assert decided.said("offline", "orders", "10.0.0.1:80") == "offline DEFAULT_GROUP@@orders  10.0.0.1:80\n"
    assert decided.intents == [(FIRST, Intent(enabled=False))]
    assert decided.said("online", "orders", "10.0.0.1:80") == "online DEFAULT_GROUP@@orders  10.0.0.1:80\n"
    assert decided.intents == []


def test_for_some_time_only_is_said_and_kept(decided: Decided) -> None:
    said = decided.said("offline", "orders", "10.0.0.1:80", "--for", "600")
    assert said.endswith("10.0.0.1:80  for 10 min\n")
    assert decided.decisions.intents[ORDERS][FIRST, "enabled"].expires_ms == WRITTEN_MS + 600_000


def test_a_weight_takes_the_place_of_another_and_leaves_whether_the_instance_serves(decided: Decided) -> None:
    decided.said("offline", "orders", "10.0.0.1:80")
    decided.said("weight", "orders", "10.0.0.1:80", "7")
    said = decided.said("weight", "orders", "10.0.0.1:80", "0.5", "--for", "60")
    assert said == "weight DEFAULT_GROUP@@orders  10.0.0.1:80  weight 0.5  for 1 min\n"
    assert decided.intents == [(FIRST, Intent(enabled=False)), (FIRST, Intent(weight=0.5))]
    decided.said("online", "orders", "10.0.0.1:80")
    assert decided.intents == [(FIRST, Intent(weight=0.5))]


def test_a_weight_is_cleared_and_nothing_else_with_it(decided: Decided) -> None:
    decided.said("offline", "orders", "10.0.0.1:80")
    decided.said("weight", "orders", "10.0.0.1:80", "0.5")
    said = decided.said("weight", "orders", "10.0.0.1:80", "--clear")
    assert said == "cleared DEFAULT_GROUP@@orders  10.0.0.1:80  weight\n"
    assert decided.intents == [(FIRST, Intent(enabled=False))]


def test_a_decision_about_an_instance_that_is_not_listed_is_refused(decided: Decided) -> None:
    for arguments in (["offline", "orders", "10.0.0.9:80"], ["offline", "orders", "10.0.0.1:80", "--cluster", "EAST"]):
        assert decided.run(*arguments) == (1, "", "error: there is no such instance (code 21003)\n")


def test_decisions_about_instances_speak_json(decided: Decided) -> None:
    place = {"namespace": "public", "service": "DEFAULT_GROUP@@orders", "ip": "10.0.0.1", "port": 80}
    cases: list[tuple[list[str], str, dict[str, Any]]] = [
        (["offline", "orders", "10.0.0.1:80"], "offline", {"enabled": False, "for_seconds": None}),
        (["weight", "orders", "10.0.0.1:80", "2", "--for", "5"], "weight", {"weight": 2.0, "for_seconds": 5.0}),
        (["online", "orders", "10.0.0.1:80"], "online", {"field": "enabled"}),
        (["weight", "orders", "10.0.0.1:80", "--clear"], "cleared", {"field": "weight"}),
    ]
    for arguments, event, facts in cases:
        said = decided.json(*arguments)
        assert said.pop("time")
        assert said == {"event": event, **place, "cluster": "DEFAULT", **facts}


@pytest.mark.parametrize(
    "arguments",
    [
        ["offline", "orders", "10.0.0.1:80", "--for", "0"],
        ["weight", "orders", "10.0.0.1:80", "10001"],
        ["weight", "orders", "10.0.0.1:80", "--", "-1"],
        ["weight", "orders", "10.0.0.1:80", "much"],
        ["weight", "orders", "10.0.0.1:80"],
        ["weight", "orders", "10.0.0.1:80", "2", "--clear"],
        ["weight", "orders", "10.0.0.1:80", "--clear", "--for", "5"],
        ["online", "orders", "10.0.0.1"],
        ["service", "put", "orders", "--protection-threshold", "2"],
        ["service", "put", "orders", "--checker", "EAST=ping"],
        ["service", "put", "orders", "--mode", "replace"],
        ["service", "show", "a@@b@@c"],
        ["namespace", "put", "no id"],
    ],
)
def test_what_cannot_be_decided_is_wrong_usage(decided: Decided, arguments: list[str]) -> None:
    code, out, err = decided.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_a_list_shows_disabled_instances_as_such_and_only_then_has_a_column_for_it(decided: Decided) -> None:
    assert "enabled" not in decided.said("instances", "orders")
    decided.said("offline", "orders", "10.0.0.1:80")
    head, _, first, second, *_ = decided.said("instances", "orders").splitlines()
    assert head.split() == ["address", "cluster", "weight", "healthy", "enabled", "metadata"]
    assert first.split() == ["10.0.0.1:80", "DEFAULT", "1", "yes", "no"]
    assert second.split() == ["10.0.0.1:81", "DEFAULT", "1", "yes", "yes"]
    listed = decided.json("instances", "orders")
    assert [(one["port"], one["enabled"]) for one in listed["instances"]] == [(80, False), (81, True)]
    offered = decided.json("instances", "orders", "--healthy")
    assert [one["port"] for one in offered["instances"]] == [81]


def test_a_list_as_json_says_whether_it_is_protected(decided: Decided) -> None:
    assert decided.json("instances", "orders")["protected"] is False


def test_a_decision_is_about_the_instance_of_the_namespace_group_and_cluster_that_are_said(decided: Decided) -> None:
    place = ["g@@orders", "10.0.0.1:90", "--namespace", "dev", "--cluster", "EAST"]
    decided.said("register", *place, "--persistent")
    service, key = Service("dev", "g", "orders"), InstanceKey("10.0.0.1", 90, "EAST")
    assert decided.said("offline", *place) == "offline g@@orders  10.0.0.1:90  cluster EAST\n"
    assert list(decided.decisions.intents[service]) == [(key, "enabled")]
    decided.said("service", "put", "g@@orders", "--namespace", "dev", "--metadata", "team=a")
    shown = decided.json("service", "show", "g@@orders", "--namespace", "dev")
    assert (shown["namespace"], shown["metadata"], shown["persistent_instances"]) == ("dev", {"team": "a"}, 1)
    assert [intent["cluster"] for intent in shown["intents"]] == ["EAST"]
    decided.said("online", *place)
    assert not decided.decisions.intents.get(service)
    decided.said("deregister", *place)
    decided.said("service", "delete", "g@@orders", "--namespace", "dev")
    assert service not in decided.decisions.services


# -- services


def test_settings_are_put_shown_and_deleted(decided: Decided) -> None:
    options = ["--protection-threshold", "0.5", "--metadata", "team=a", "--checker", "EAST=http:9000/health"]
    assert decided.said("service", "put", "g@@orders", *options) == "put g@@orders\n"
    settings, author = decided.decisions.services[Service("public", "g", "orders")]
    checkers = {"EAST": CheckerSettings("http", False, 9_000, "/health")}
    assert settings == ServiceSettings(0.5, {"team": "a"}, checkers)
    assert re.fullmatch(AUTHOR, author)
    assert decided.said("service", "show", "orders", "--group", "g").splitlines() == [
        "g@@orders in namespace public",
        f"settings put at {time_text(WRITTEN_MS)} by {author}",
        "protection threshold 0.5",
        "metadata team=a",
        "cluster EAST is probed: http:9000/health",
    ]
    assert decided.said("service", "delete", "g@@orders") == "deleted g@@orders\n"
    assert decided.run("service", "delete", "g@@orders") == (1, "", "error: there is none (code 21008)\n")


def test_a_service_that_nobody_has_put_shows_its_instances_and_what_is_wanted_of_them(decided: Decided) -> None:
    decided.said("register", "orders", "10.0.0.1:82", "--persistent")
    decided.said("offline", "orders", "10.0.0.1:80", "--for", "60")
    decided.said("weight", "orders", "10.0.0.1:81", "3")
    first, unsaid, kept, *table = decided.said("service", "show", "orders").splitlines()
    assert first == "DEFAULT_GROUP@@orders in namespace public"
    assert (unsaid, kept) == ("nobody has put settings", "persistent instances: 1")
    assert table[0].split() == ["address", "cluster", "wanted", "until", "by", "since", "instance"]
    until, since = re.escape(time_text(WRITTEN_MS + 60_000)), re.escape(time_text(WRITTEN_MS))
    assert re.fullmatch(rf"10\.0\.0\.1:80 +DEFAULT +disabled +{until} +{AUTHOR} +{since} +listed *", table[2])
    assert re.fullmatch(rf"10\.0\.0\.1:81 +DEFAULT +weight 3 +cleared +{AUTHOR} +{since} +listed *", table[3])


def test_a_decision_whose_instance_has_gone_is_shown_as_such(decided: Decided) -> None:
    decided.said("register", "orders", "10.0.0.1:82", "--persistent")
    decided.said("offline", "orders", "10.0.0.1:82")
    decided.said("deregister", "orders", "10.0.0.1:82")
    assert decided.said("service", "show", "orders").splitlines()[-1].split()[-1] == "gone"
    assert [intent["listed"] for intent in decided.json("service", "show", "orders")["intents"]] == [False]


def test_a_service_speaks_json(decided: Decided) -> None:
    said = decided.json("service", "put", "orders", "--checker", "EAST=none", "--mode", "create")
    assert said.pop("time")
    assert said == {"event": "put", "namespace": "public", "service": "DEFAULT_GROUP@@orders"}
    decided.said("weight", "orders", "10.0.0.1:80", "3")
    shown = decided.json("service", "show", "orders")
    assert shown["checkers"]["EAST"]["kind"] == "none"
    assert (shown["protection_threshold"], shown["written_ms"], shown["index"]) == (0.0, WRITTEN_MS, 1)
    [intent] = shown["intents"]
    assert (intent["written_ms"], intent["expires_ms"]) == (WRITTEN_MS, 0)
    assert (intent["ip"], intent["port"], intent["weight"], intent["listed"]) == ("10.0.0.1", 80, 3.0, True)
    assert "enabled" not in intent, "each says one thing"
    code, _, err = decided.run("service", "put", "orders", "--mode", "create")
    assert (code, err) == (1, "error: there is one already (code 21007)\n")


@pytest.mark.parametrize("text", ["tcp", "tcp:9000", "http", "http:81", "http/health", "http:81/a=b:c", "none"])
def test_a_checker_is_written_as_it_is_shown(text: str) -> None:
    cluster, checker = parse_checker(f"EAST={text}")
    assert (cluster, checker_text(checker)) == ("EAST", text)


def test_of_a_checker_the_command_shows_what_it_cannot_say_too() -> None:
    checker = CheckerSettings("http", path="/", headers="a:1", expected_status=204)
    assert checker_text(checker) == "http/  headers a:1  expected status 204"


@pytest.mark.parametrize("text", ["EAST", "=tcp", "EAST=tcp/health", "EAST=none:80", "EAST=http:x", "EAST=http:123456"])
def test_a_checker_that_cannot_be_meant_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidField) as raised:
        parse_checker(text)
    assert raised.value.field == "checker"


# -- namespaces


def test_namespaces_are_put_listed_and_deleted(decided: Decided) -> None:
    put = decided.said("namespace", "put", "prod", "--name", "production", "--description", "of the shop")
    assert put == "put namespace prod\n"
    assert decided.decisions.namespaces["prod"] == Namespace("prod", "production", "of the shop")
    head, _, *rows = decided.said("namespace", "list").splitlines()
    assert head.split() == ["id", "name", "description"]
    assert [row.split()[:2] for row in rows] == [["prod", "production"], ["public", "public"]]
    assert decided.said("namespace", "delete", "prod") == "deleted namespace prod\n"
    assert decided.run("namespace", "delete", "prod") == (1, "", "error: there is none (code 21008)\n")


def test_a_namespace_speaks_json(decided: Decided) -> None:
    said = decided.json("namespace", "put", "dev")
    assert (said["event"], said["namespace"]) == ("put", "dev")
    [dev, public] = decided.json("namespace", "list")["namespaces"]
    assert dev == {"id": "dev", "name": "dev", "description": ""}
    assert public["id"] == "public"
    assert decided.run("namespace", "put", "dev", "--mode", "create")[0] == 1
    assert decided.run("namespace", "put", "test", "--mode", "update")[0] == 1
    assert decided.json("namespace", "delete", "dev")["event"] == "deleted"


# -- who decides


@pytest.mark.parametrize("user", ["ann", "a b\u00e9\n", "x" * 300, "health/x"])
def test_whoever_decides_can_be_read_and_is_a_client_of_its_own(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", user)
    first, second = author_id(), author_id()
    assert first != second
    assert check_client_id(first).startswith(user[:1])
