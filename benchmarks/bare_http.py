"""The peer of HTTP lists: starlette on uvicorn with one route, which answers the bytes of a file.

python -m benchmarks.bare_http PORT PATH FILE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.collector import settle_collector


async def serve(port: int, path: str, content: bytes) -> None:
    async def answer(_request: Request) -> Response:
        return Response(content, media_type="application/json")

    app = Starlette(routes=[Route(path, answer)])
    config = uvicorn.Config(app, "127.0.0.1", port, log_config=None, access_log=False, http="httptools", ws="none")
    settle_collector()
    print("ready", flush=True)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes()))
