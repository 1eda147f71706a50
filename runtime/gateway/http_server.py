"""uvicorn on a socket of ours, on a loop of ours, deaf to signals: the process listens to these itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from runtime.gateway.http_protocol import BoundedConfig, HttpConnections, HttpPatience
from runtime.gateway.listening import listen
from runtime.gateway.plan import GatewayPlan
from runtime.gateway.tls import GatewayTls

IDLE_SECONDS_MAX = 60  # SDKs poll and beat every 5 to 10 s, and a connection that ends between two of these fails one
PATIENCE = HttpPatience()
GRACE_SECONDS = 1  # for requests in progress at the end; uvicorn takes whole seconds


class HttpServer:
    """Binds in the constructor, so that a taken port is known before anything starts."""

    def __init__(
        self, app: ASGIApp, plan: GatewayPlan, tls: GatewayTls | None, patience: HttpPatience = PATIENCE
    ) -> None:
        self._socket = listen(plan, plan.http_port, "HTTP")
        settings = plan.settings
        self.connections = HttpConnections(settings.http_connections_max, settings.http_connections_per_address_max)
        config = BoundedConfig(
            app,
            self.connections,
            patience,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=IDLE_SECONDS_MAX,
            server_header=False,
            proxy_headers=False,  # whoever asks is who the connection is with; what a header says can be made up
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
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


# It says that it starts and ends, which the gateway says too; and it warns of each request that is none, so that a
# stranger could fill the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
