"""What SDKs ask for besides naming, so that naming goes on: to log in, for the list of servers, for configurations.

Nobody is asked who he is yet: every login is answered as by the original with authentication off. There are no
configurations: their readers are told so, and their listeners wait, for a quick answer would make them ask in a loop.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from starlette.responses import Response

from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import HttpRefused, ResultCode
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, json_response, text_response
from runtime.gateway.node_link import NodeLink

TOKEN = "AUTH_DISABLED"
TOKEN_SECONDS = 18_000
POLL_HEADER = "long-pulling-timeout"
POLL_MS = 30_000
POLL_MS_MAX = 60_000
POLL_MARGIN_MS = 500  # the answer is to arrive before the client gives up
CLIENT_PORT_OFFSET = 2  # of the native protocol; HTTP has none
NOT_FOUND = 404


class HttpOthers:
    def __init__(self, link: NodeLink, is_ending: asyncio.Event) -> None:
        self._link = link
        self._is_ending = is_ending

    def routes(self) -> list[HttpRoute]:
        words = AnswerStyle.WORDS
        logins = ("/v1/auth/login", "/v1/auth/users/login", "/v3/auth/user/login")
        return [
            *(HttpRoute("POST", path, words, self._log_in) for path in logins),
            HttpRoute("GET", "/serverlist", words, self._servers),
            HttpRoute("GET", "/v1/cs/configs", words, self._no_configuration),
            HttpRoute("POST", "/v1/cs/configs/listener", words, self._listen),
        ]

    async def _log_in(self, call: HttpCall) -> object:
        answer = {
            "accessToken": TOKEN,
            "tokenTtl": TOKEN_SECONDS,
            "globalAdmin": True,
            "username": call.text("username"),
        }
        response = json_response(msgspec.json.encode(answer))
        response.headers["authorization"] = f"Bearer {TOKEN}"
        return response

    async def _servers(self, call: HttpCall) -> object:
        """Where HTTP is at each member, a line each. Node splits at CRLF only, and takes an end of the last line for a
        server without a name; everybody else takes any ends of lines."""
        del call
        lines = []
        for address in self._link.servers:
            host, _, port = address.rpartition(":")
            lines.append(f"{host}:{int(port) - CLIENT_PORT_OFFSET}")
        return text_response("\r\n".join(sorted(lines)))

    async def _no_configuration(self, _: HttpCall) -> object:
        raise HttpRefused(NOT_FOUND, "config data not exist", ResultCode.NOT_FOUND)

    async def _listen(self, call: HttpCall) -> object:
        said = call.headers.get(POLL_HEADER, "")
        wait_ms = min(int(said[:9]), POLL_MS_MAX) if said.isascii() and said.isdigit() else POLL_MS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0, wait_ms - POLL_MARGIN_MS) / 1000):
                await self._is_ending.wait()
        return Response()
