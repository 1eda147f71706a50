"""Live: this process answers. Ready: its node does too."""

from __future__ import annotations

from rollbook.errors import Code
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import ResultCode
from runtime.gateway.http_instances import OK
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, RefusedResult, text_response
from runtime.gateway.node_link import NodeLink

NOT_READY_TEXT = "the node is not ready"


class HttpHealth:
    def __init__(self, link: NodeLink) -> None:
        self._link = link

    def routes(self) -> list[HttpRoute]:
        words, result = AnswerStyle.WORDS, AnswerStyle.RESULT
        table = [
            HttpRoute("GET", "/v1/console/health/liveness", words, self._live_in_words),
            HttpRoute("GET", "/v1/console/health/readiness", words, self._ready_in_words),
            HttpRoute("GET", "/actuator/health", words, self._actuator),
        ]
        for stem in ("/v2/console/health", "/v3/console/health", "/v3/admin/core/state"):
            table.append(HttpRoute("GET", f"{stem}/liveness", result, self._live))
            table.append(HttpRoute("GET", f"{stem}/readiness", result, self._ready))
        return table

    async def _live_in_words(self, _: HttpCall) -> object:
        return "OK"

    async def _ready_in_words(self, _: HttpCall) -> object:
        return "OK" if self._link.is_up else text_response(NOT_READY_TEXT, int(Code.INTERNAL))

    async def _actuator(self, _: HttpCall) -> object:
        return {"status": "UP" if self._link.is_up else "OUT_OF_SERVICE"}

    async def _live(self, _: HttpCall) -> object:
        return OK

    async def _ready(self, _: HttpCall) -> object:
        """SDKs of version 3 look at the code and not at the status."""
        return OK if self._link.is_up else RefusedResult(ResultCode.SERVER_ERROR, NOT_READY_TEXT)
