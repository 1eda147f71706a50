"""An SDK that subscribes to services over gRPC and reports how old each change was when it was pushed to it.

    python -m benchmarks.sdk_subscriber SERVICES CHANGES HOST:PORT

As subscriber.py, but one connection to a gateway. It acknowledges what it is pushed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from tests.support.sdk_client import SdkClient, success

PATIENCE_S = 60.0


async def run(services: int, changes: int, address: str) -> None:
    known: dict[str, str] = {}
    delays_ms: list[float] = []
    complete = asyncio.Event()

    def answer(kind: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        now_ns = time.monotonic_ns()
        for host in body.get("serviceInfo", {}).get("hosts", ()):
            at_ns = host["metadata"]["at_ns"]
            if known.get(body["serviceInfo"]["name"]) != at_ns:
                known[body["serviceInfo"]["name"]] = at_ns
                delays_ms.append((now_ns - int(at_ns)) / 1e6)
        if len(delays_ms) >= changes:
            complete.set()
        return success(kind, body)

    async with SdkClient(address) as sdk:
        sdk.answers = answer
        await sdk.connected()
        for number in range(services):
            await sdk.subscribe(f"watched-{number}")
        print("ready", flush=True)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await complete.wait()
        except TimeoutError:
            raise SystemExit(f"only {len(delays_ms)} of {changes} changes arrived") from None
    print(json.dumps(delays_ms), flush=True)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
