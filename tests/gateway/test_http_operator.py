"""Switches and levels of logs, at one gateway: what is turned acts, what is not is refused, and nothing is locked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from loguru import logger

from rollbook.errors import InvalidField
from runtime.gateway.http_errors import HttpRefused
from runtime.gateway.switches import Switchboard
from runtime.logs import LogSettings, change_level, level_named, set_up_logs
from tests.support.http_gateway import HttpAnswer, HttpCaller, HttpNode

V1, INSTANCE = "/v1/ns/operator/switches", "/v1/ns/instance"
SERVER_STATUS = "overriddenServerStatus"


@pytest.mark.cluster
def test_switches_say_what_stands_and_most_are_settings_of_the_node(caller: HttpCaller) -> None:
    assert caller.ask("GET", V1).json["clientBeatInterval"] == 5_000
    assert caller.ask("GET", "/v2/ns/operator/switches").json["data"]["lightBeatEnabled"] is True
    assert caller.say("PUT", V1, entry="clientBeatInterval", value=5_000).text == "ok"
    assert caller.say("PUT", V1, entry="unheard-of", value=1).text == "ok"
    refused = caller.say("PUT", V1, entry="check", value="false", debug="true")
    assert refused.status == 400
    assert refused.text.startswith("check is true here")
    assert caller.say("PUT", V1, entry="check").text == "Parameter 'value' is missing"


@pytest.mark.cluster
def test_a_switch_is_turned_at_one_server_and_only_if_that_is_meant(caller: HttpCaller) -> None:
    answer = caller.say("PUT", "/v3/admin/ns/ops/switches", entry="pushEnabled", value="false")
    assert (answer.status, answer.json["code"]) == (400, 40_001)
    assert "debug=true" in answer.json["data"]
    assert caller.ask("GET", V1).json["pushEnabled"] is True


def turn(caller: HttpCaller, entry: str, value: str) -> None:
    assert caller.say("PUT", V1, entry=entry, value=value, debug="true").text == "ok"


def beat(caller: HttpCaller, **about: object) -> HttpAnswer:
    return caller.say("PUT", f"{INSTANCE}/beat", **about)


@pytest.mark.cluster
def test_what_is_turned_acts_and_is_turned_back(caller: HttpCaller) -> None:
    about = {"serviceName": "switched", "ip": "10.0.0.1", "port": 80}
    turn(caller, "disableAddIP", "true")
    refused = caller.say("POST", INSTANCE, **about)
    assert (refused.status, "forbidden" in refused.text) == (403, True)
    turn(caller, "disableAddIP", "false")
    assert caller.say("POST", INSTANCE, **about).text == "ok"
    turn(caller, "lightBeatEnabled", "false")
    assert beat(caller, **about).json["lightBeatEnabled"] is False
    turn(caller, "lightBeatEnabled", "true")
    assert beat(caller, **about).json["lightBeatEnabled"] is True
    turn(caller, "limitedUrlMap", "/nacos/v1/ns/instance/list:503")
    limited = caller.say("GET", f"{INSTANCE}/list", serviceName="switched")
    assert (limited.status, "limited by a switch" in limited.text) == (503, True)
    assert beat(caller, **about).status == 200
    turn(caller, "limitedUrlMap", "")
    assert caller.shown("switched") == ["10.0.0.1:80"]


@pytest.mark.cluster
def test_a_status_that_is_said_by_hand_acts_on_naming_and_locks_nobody_out(caller: HttpCaller) -> None:
    about = {"serviceName": "by-hand", "ip": "10.0.0.1", "port": 80}
    try:
        turn(caller, SERVER_STATUS, "READ_ONLY")
        refused = caller.say("POST", INSTANCE, **about)
        assert (refused.status, refused.text) == (503, "server is READ_ONLYnow, please try again later!")
        assert caller.shown("by-hand") == []
        turn(caller, SERVER_STATUS, "WRITE_ONLY")
        assert caller.say("POST", INSTANCE, **about).text == "ok"
        assert caller.say("GET", f"{INSTANCE}/list", serviceName="by-hand").status == 503
        turn(caller, SERVER_STATUS, "DOWN")
        for path in ("/v2/ns/instance/list", "/v3/client/ns/instance/list", "/v3/admin/ns/instance/list"):
            assert caller.say("GET", path, serviceName="by-hand").status == 503
        assert caller.ask("GET", "/v1/ns/operator/metrics").json == {"status": "DOWN"}
        assert caller.ask("GET", "/v1/console/health/liveness").text == "OK"
    finally:
        turn(caller, SERVER_STATUS, "")
    assert caller.shown("by-hand") == ["10.0.0.1:80"]
    assert caller.ask("GET", "/v1/ns/operator/metrics").json == {"status": "UP"}


def test_pushes_over_udp_can_be_turned_off() -> None:
    board = Switchboard()
    board.turn("pushEnabled", "OFF", is_here_only=True)
    assert board.stands.push_enabled is False
    board.turn("pushEnabled", "false", is_here_only=False)  # it stands so already
    board.turn("pushEnabled", "true", is_here_only=True)
    assert board.stands.push_enabled is True


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("pushEnabled", "perhaps"),
        (SERVER_STATUS, "FINE"),
        ("limitedUrlMap", "nothing"),
        ("limitedUrlMap", "/nacos:200"),
        ("limitedUrlMap", "/nacos:600"),
        ("limitedUrlMap", "/nacos:04040"),
        ("limitedUrlMap", "nacos:500"),
        ("limitedUrlMap", ",".join(f"/{number}:503" for number in range(101))),
    ],
)
def test_a_value_that_a_switch_cannot_have_is_named(entry: str, value: str) -> None:
    board = Switchboard()
    with pytest.raises(InvalidField) as raised:
        board.turn(entry, value, is_here_only=True)
    assert raised.value.field == "value"
    assert board.stands == Switchboard().stands


def test_no_limit_stands_in_the_way_of_who_would_lift_it() -> None:
    board = Switchboard()
    board.turn("limitedUrlMap", "/nacos:503, /:404", is_here_only=True)
    with pytest.raises(HttpRefused) as raised:
        board.check("GET", "/nacos/v1/ns/instance/list")
    assert raised.value.status == 503
    for path in ("/nacos/v1/ns/operator/switches", "/nacos/v2/ns/ops/switches", "/nacos/v3/admin/ns/ops/switches"):
        board.check("PUT", path)
    board.turn("limitedUrlMap", "", is_here_only=True)
    board.check("GET", "/nacos/v1/ns/instance/list")


@pytest.mark.cluster
def test_the_level_of_logs_is_that_of_the_whole_gateway_and_its_node(caller: HttpCaller, http_node: HttpNode) -> None:
    about = {"logName": "naming-main"}

    def said(word: str) -> bool:
        """By the gateway, and by the node."""
        return http_node.node.log.read_text().count(f"logs say {word}") == 2

    assert caller.say("PUT", "/v1/ns/operator/log", **about, logLevel="debug").text == "ok"
    assert said("DEBUG")
    assert caller.say("PUT", "/v1/core/ops/log", **about, logLevel="INFO").json == {
        "code": 200,
        "message": None,
        "data": None,
    }
    assert said("INFO")
    for place in ("/v2/ns/ops", "/v3/admin/ns/ops", "/v3/admin/core/ops"):
        assert caller.say("PUT", f"{place}/log", **about, logLevel="INFO").json["data"] == "ok"
        refused = caller.say("PUT", f"{place}/log", **about, logLevel="LOUD")
        assert (refused.status, refused.json["code"]) == (400, 20_002)
    assert caller.say("PUT", "/v1/ns/operator/log", logLevel="INFO").text == "Parameter 'logName' is missing"


def test_a_change_of_level_decides_what_is_said_next(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        set_up_logs(LogSettings("INFO", False, ""))
        logger.debug("before")
        change_level(level_named("TRACE"))
        logger.debug("while it is finer")
        change_level(level_named("warn"))
        logger.info("after")
        logger.warning("always")
        with pytest.raises(InvalidField, match="a level is one of DEBUG"):
            level_named("LOUD")
    finally:
        logger.remove()
    said = capsys.readouterr().err
    assert ("before" in said, "while it is finer" in said, "after" in said, "always" in said) == (
        False,
        True,
        False,
        True,
    )


@pytest.mark.cluster
def test_what_is_not_here_is_said(caller: HttpCaller) -> None:
    assert caller.ask("GET", "/v1/core/ops/idInfo").json == {"code": 200, "message": None, "data": {}}
    assert caller.ask("GET", "/v3/admin/core/ops/ids").json["data"] == {}
    assert caller.ask("POST", "/v1/core/ops/raft").status == 400
    assert caller.ask("POST", "/v3/admin/core/ops/raft").json["code"] == 40_001


def test_a_log_file_that_cannot_be_opened_anew_costs_the_file_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    set_up_logs(LogSettings("INFO", False, str(folder / "node.log")))
    shutil.rmtree(folder)
    folder.touch()
    try:
        change_level("DEBUG")
        logger.debug("still told")
    finally:
        logger.remove()
    said = capsys.readouterr().err
    assert "cannot write the log file" in said
    assert "still told" in said
