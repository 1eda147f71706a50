"""uvicorn on a socket of ours, on a loop of ours, deaf to signals: the process listens to these itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from runtime.endpoints import AddressUnusable
from runtime.gateway.plan import GatewayPlan

LISTEN_BACKLOG_MAX = 2_048
GRACE_SECONDS = 1  # for requests in progress at the end; uvicorn takes whole seconds


class HttpServer:
    """Binds in the constructor, so that a taken port is known before anything starts."""

    def __init__(self, app: Starlette, plan: GatewayPlan) -> None:
        self._socket = _bound(plan)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    @property
    def task(self) -> asyncio.Task[None]:
        """It ends when the server does."""
        assert self._task is not None, "it was started"
        return self._task

    async def stop(self) -> None:
        self._server.should_exit = True
        await self.task
        self._socket.close()


# It says that it starts and ends, which the gateway says too.
logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bound(plan: GatewayPlan) -> socket.socket:
    family = socket.AF_INET6 if ":" in plan.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if plan.shares_ports:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((plan.host.strip("[]"), plan.http_port))
        listener.listen(LISTEN_BACKLOG_MAX)
    except OSError as error:
        listener.close()
        sentence = f"cannot listen on {plan.host}:{plan.http_port} for HTTP"
        raise AddressUnusable(f"{sentence}: {error.strerror or error}") from None
    return listener
