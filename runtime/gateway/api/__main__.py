"""Prints the OpenAPI document: of a gateway that never meets a node. scripts/build_openapi.sh keeps it in docs/."""

from __future__ import annotations

import asyncio
import random
import sys

from runtime.gateway.fuzzy_watch import FuzzyWatches
from runtime.gateway.http_app import HttpApp
from runtime.gateway.node_link import NodeLink
from runtime.gateway.sdk_connections import SdkConnections
from runtime.gateway.service_lists import ServiceLists
from runtime.settings import load_settings


async def _printed() -> None:
    settings, chance, lists = load_settings(environment={}).gateway, random.Random(0), ServiceLists(1, 1, 1)
    link = NodeLink("inproc://nobody", settings, chance)
    try:
        connections = SdkConnections(link, lists, FuzzyWatches(link, settings), settings, chance)
        app = HttpApp(link, lists, settings, connections)
        sys.stdout.buffer.write(app.description.encoded + b"\n")
    finally:
        await link.stop()


if __name__ == "__main__":
    asyncio.run(_printed())
