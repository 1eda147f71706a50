"""The HTTP side of the gateway: which path is answered by what."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollbook.errors import Code
from runtime.gateway.node_link import NodeLink

NOT_READY_TEXT = "the node is not ready"
_NOT_READY_CODE = 30_000  # of the envelope; SDKs of version 3 look at it and not at the status


def http_app(link: NodeLink) -> Starlette:
    health = _Health(link)
    routes: list[tuple[str, Callable[[Request], Response]]] = [
        ("/v1/console/health/liveness", health.live_in_words),
        ("/v1/console/health/readiness", health.ready_in_words),
        ("/v2/console/health/liveness", health.live),
        ("/v2/console/health/readiness", health.ready),
        ("/v3/console/health/liveness", health.live),
        ("/v3/console/health/readiness", health.ready),
        ("/v3/admin/core/state/liveness", health.live),
        ("/v3/admin/core/state/readiness", health.ready),
    ]
    return Starlette(routes=[Route(f"/nacos{path}", _on_the_loop(answer)) for path, answer in routes])


class _Health:
    """Live: this process answers. Ready: its node does too."""

    def __init__(self, link: NodeLink) -> None:
        self._link = link

    def live_in_words(self, _: Request) -> Response:
        return PlainTextResponse("OK")

    def ready_in_words(self, _: Request) -> Response:
        return PlainTextResponse("OK") if self._link.is_up else PlainTextResponse(NOT_READY_TEXT, int(Code.INTERNAL))

    def live(self, _: Request) -> Response:
        return _result(0, "success", "ok")

    def ready(self, _: Request) -> Response:
        if self._link.is_up:
            return _result(0, "success", "ok")
        return _result(_NOT_READY_CODE, NOT_READY_TEXT, None)


def _result(code: int, message: str, data: object) -> Response:
    return JSONResponse({"code": code, "message": message, "data": data})


def _on_the_loop(answer: Callable[[Request], Response]) -> Callable[[Request], object]:
    """Starlette would run a plain function in a thread."""

    async def answered(request: Request) -> Response:
        return answer(request)

    return answered
