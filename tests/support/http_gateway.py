"""A real node with a real gateway beside it, and whoever asks it over HTTP: like an SDK, byte by byte as it is told."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from tests.support.documented import check_documented
from tests.support.real_cluster import RealNode, free_base_ports, until

READY_SECONDS = 60.0
ANSWER_SECONDS = 20.0


class HttpAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class HttpCaller:
    """One who asks a gateway at this port."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.port = port
        self._headers = dict(headers or {})

    def ask(self, method: str, target: str, body: bytes | str = b"", **headers: str) -> HttpAnswer:
        """``target`` as it stands on the wire, below the context path unless it begins with it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        said = {**self._headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        try:
            connection.request(method, target if target.startswith("/nacos") else f"/nacos{target}", body, said)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            check_documented(method, target, answer.status, named)
            return HttpAnswer(answer.status, named, answer.read())
        finally:
            connection.close()

    def say(self, method: str, path: str, **parameters: object) -> HttpAnswer:
        """With parameters in the query."""
        return self.ask(method, f"{path}?{urlencode(parameters)}")

    def form(self, method: str, path: str, **parameters: object) -> HttpAnswer:
        """With parameters in the body."""
        return self.ask(method, path, urlencode(parameters), content_type="application/x-www-form-urlencoded")

    def listed(self, service: str, **parameters: object) -> Any:
        """As the first API shows it."""
        answer = self.say("GET", "/v1/ns/instance/list", serviceName=service, **parameters)
        assert answer.status == 200, answer
        return answer.json

    def finds_it_ready(self) -> bool:
        try:
            return bool(self.ask("GET", "/v3/admin/core/state/readiness").json["code"] == 0)
        except OSError:
            return False

    def shown(self, service: str, **parameters: object) -> list[str]:
        """``ip:port`` of who is listed."""
        return [f"{host['ip']}:{host['port']}" for host in self.listed(service, **parameters)["hosts"]]


class HttpNode:
    """One node with one gateway. ``close`` it."""

    def __init__(self, folder: Path) -> None:
        (self.base_port,) = free_base_ports(1)
        self.node = RealNode(folder, self.base_port, [], (), "sqlite", 1)
        self.caller = HttpCaller(self.base_port)
        self.node.start()

    def until_ready(self) -> None:
        until(self.caller.finds_it_ready, READY_SECONDS, "the gateway is ready")

    def close(self) -> None:
        self.node.close()
