"""Prints the OpenAPI document: of a gateway that never meets a node. scripts/build_openapi.sh keeps it in docs/."""

from __future__ import annotations

import asyncio
import random
import sys

from runtime.gateway.http_app import HttpApp
from runtime.gateway.node_link import NodeLink
from runtime.gateway.service_lists import ServiceLists
from runtime.settings import load_settings


async def _printed() -> None:
    settings = load_settings(environment={}).gateway
    link = NodeLink("inproc://nobody", settings, random.Random(0))
    try:
        app = HttpApp(link, ServiceLists(1, 1, 1), settings)
        sys.stdout.buffer.write(app.description.encoded + b"\n")
    finally:
        await link.stop()


if __name__ == "__main__":
    asyncio.run(_printed())
