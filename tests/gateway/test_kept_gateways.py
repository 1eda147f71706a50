"""Gateways as the supervisor keeps them beside a real node: each may die without the other noticing much."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from runtime.gateway.wire.sdk_pb2 import Payload
from tests.support.real_cluster import ROOT, RealNode, free_base_ports, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

READY_SECONDS = 60.0
LEAVE_SECONDS_MAX = 6.0
READINESS = "/nacos/v3/admin/core/state/readiness"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def started(stack: ExitStack, folder: Path, *options: str, gateways: int = 1) -> RealNode:
    (base_port,) = free_base_ports(1)
    node = RealNode(folder, base_port, [], options, "sqlite", gateways)
    stack.callback(node.close)
    node.start()
    until(node.is_ready, READY_SECONDS, "the node is ready")
    return node


def asked(node: RealNode, path: str = READINESS) -> Any:
    return answer_at(node.base_port, path)


def answer_at(port: int, path: str) -> Any:
    """What HTTP answers; None while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return msgspec.json.decode(connection.getresponse().read())
    except OSError:
        return None
    finally:
        connection.close()


def is_ready(node: RealNode) -> bool:
    answer = asked(node)
    return bool(answer) and answer["code"] == 0


def until_ready(node: RealNode) -> None:
    until(lambda: is_ready(node), READY_SECONDS, f"the gateway is ready; {node.log.read_text()}")


def said(node: RealNode, text: str) -> bool:
    return text in node.log.read_text()


def server_checked(node: RealNode) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{node.base_port + 1_000}") as channel:
        ask = channel.unary_unary(
            "/Request/request",
            request_serializer=Payload.SerializeToString,
            response_deserializer=Payload.FromString,
        )
        payload = Payload()
        payload.metadata.type = "ServerCheckRequest"
        payload.body.value = b"{}"
        answer = ask(payload, timeout=10)
        return answer.metadata.type, msgspec.json.decode(answer.body.value)


def test_a_node_has_a_gateway_that_answers_http_and_grpc(stack: ExitStack, tmp_path: Path) -> None:
    node = started(stack, tmp_path)
    until_ready(node)
    assert asked(node, "/nacos/v3/admin/core/state/liveness") == {"code": 0, "message": "success", "data": "ok"}
    kind, answer = server_checked(node)
    assert (kind, answer["resultCode"], answer["supportAbilityNegotiation"]) == ("ServerCheckResponse", 200, True)
    assert answer["connectionId"]


def test_a_gateway_that_is_killed_is_started_again_and_its_node_goes_on(stack: ExitStack, tmp_path: Path) -> None:
    node = started(stack, tmp_path)
    until_ready(node)
    (gateway,), pid = node.gateways(), node.pid
    os.kill(gateway, signal.SIGKILL)
    until(lambda: node.gateways() not in ([], [gateway]), READY_SECONDS, "another one runs")
    until_ready(node)
    assert node.pid == pid
    assert said(node, "the gateway ended with 137; starting it again in 200 ms")


def test_a_node_that_is_killed_finds_its_gateway_again(stack: ExitStack, tmp_path: Path) -> None:
    node = started(stack, tmp_path)
    until_ready(node)
    gateways, pid = node.gateways(), node.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_ready(node), READY_SECONDS, "the gateway says that the node is away")
    until_ready(node)
    assert node.gateways() == gateways
    assert node.pid != pid


def test_a_port_in_use_costs_the_gateway_and_not_the_node(stack: ExitStack, tmp_path: Path) -> None:
    (base_port,) = free_base_ports(1)
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", base_port))
    taken.listen()
    node = RealNode(tmp_path, base_port, [], (), "sqlite", 1)
    stack.callback(node.close)
    node.start()
    text = "the gateway ended with 2, 1 times in 60 s; the node goes on without it"
    until(lambda: said(node, text), READY_SECONDS, "it is said")
    assert said(node, f"cannot listen on 127.0.0.1:{base_port} for HTTP: Address already in use")
    assert node.is_ready()
    assert node.gateways() == []


def test_a_gateway_that_keeps_dying_is_left_alone_for_a_while(stack: ExitStack, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[supervisor]\nrestarts_max = 1\nrestart_delay_ms = 10\n")
    node = started(stack, tmp_path, "--config", str(settings))
    pid = node.pid
    for _ in range(2):
        until(node.gateways, READY_SECONDS, "a gateway runs")
        (gateway,) = node.gateways()
        os.kill(gateway, signal.SIGKILL)
        until(lambda killed=gateway: killed not in node.gateways(), READY_SECONDS, "it has ended")  # type: ignore[misc]
    text = "the gateway ended with 137, 2 times in 60 s; the node goes on without it"
    until(lambda: said(node, text), READY_SECONDS, "it is said")
    assert node.gateways() == []
    assert node.pid == pid
    assert node.is_ready()


def test_sigterm_ends_the_gateway_first_and_then_the_node(stack: ExitStack, tmp_path: Path) -> None:
    node = started(stack, tmp_path)
    until_ready(node)
    told = time.monotonic()
    assert node.terminate() == 0
    assert time.monotonic() - told < LEAVE_SECONDS_MAX
    log = node.log.read_text()
    assert re.search(r"gateway +ended", log), log
    assert log.index("gateway     ended") < log.index("members     leaving") < log.index("ended: left the cluster")


def test_a_gateway_whose_supervisor_is_killed_ends_by_itself(stack: ExitStack, tmp_path: Path) -> None:
    node = started(stack, tmp_path)
    until_ready(node)
    os.kill(node.supervisor_pid, signal.SIGKILL)
    until(lambda: asked(node) is None, READY_SECONDS, "nothing listens any more")
    until(lambda: node.log.read_text().count("the supervisor is gone") == 2, READY_SECONDS, "node and gateway say so")


def test_several_gateways_share_the_ports_and_each_writes_its_own_log_file(stack: ExitStack, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[log]\nfile = "{tmp_path / "own.log"}"\n')
    node = started(stack, tmp_path, "--config", str(settings), gateways=2)
    files = [tmp_path / f"own.gateway-{number}.log" for number in (1, 2)]
    until(lambda: all(file.exists() and " started " in file.read_text() for file in files), READY_SECONDS, "both")
    until_ready(node)
    first, second = node.gateways()
    os.kill(first, signal.SIGKILL)
    until(lambda: is_ready(node), READY_SECONDS, "the other one answers")
    assert second in node.gateways()
    assert "gateway" not in (tmp_path / "own.log").read_text()


def test_a_further_gateway_is_run_by_hand_and_waits_for_its_node(stack: ExitStack, tmp_path: Path) -> None:
    base_port, port = free_base_ports(2)
    command = [sys.executable, "-m", "rollbook.cli", "gateway", "--node", f"127.0.0.1:{base_port + 2}"]
    with (tmp_path / "log").open("wb") as log:
        gateway = subprocess.Popen([*command, "--http-port", str(port)], cwd=ROOT, stderr=log)
    stack.callback(gateway.wait)
    stack.callback(gateway.kill)
    until(lambda: answer_at(port, READINESS), READY_SECONDS, "it answers")
    assert answer_at(port, READINESS)["code"] != 0, "its node is away"
    node = RealNode(tmp_path, base_port, [], (), "sqlite")
    stack.callback(node.close)
    node.start()
    until(lambda: answer_at(port, READINESS)["code"] == 0, READY_SECONDS, "it has found its node")
    taken = subprocess.run(
        [*command, "--http-port", str(port)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (taken.returncode, taken.stderr.count("\n")) == (2, 1)
    assert f"cannot listen on 127.0.0.1:{port + 1_000} for gRPC: Address already in use; --http-port" in taken.stderr
    gateway.terminate()
    assert gateway.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--node", "nowhere"], "host:port"), (["--node", "h:1", "--http-port", "0"], "--http-port")],
)
def test_what_is_wrong_with_a_further_gateway_is_one_line(arguments: list[str], named: str) -> None:
    command = [sys.executable, "-m", "rollbook.cli", "gateway", *arguments]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert named in refused.stderr
