"""The main of a gateway process. As with the node's, its supervisor holds the other end of standard input: it writes
the plan there, and when it closes, for whatever reason, the gateway leaves and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from loguru import logger

from rollbook.errors import SettingsError
from runtime.collector import settle_collector
from runtime.descriptors import raise_descriptor_limit
from runtime.endpoints import AddressUnusable
from runtime.gateway.gateway import Gateway
from runtime.gateway.plan import GatewayPlan
from runtime.handover import EXIT_CONFIGURATION, EXIT_FAILED, read_framed
from runtime.logs import set_up_logs

_INPUT = 0


def main() -> int:
    """Run one life of a gateway; the exit code."""
    plan = read_framed(_INPUT, GatewayPlan)
    if plan is None:
        return EXIT_FAILED
    return run(plan, has_supervisor=True)


def run(plan: GatewayPlan, *, has_supervisor: bool) -> int:
    """Until a signal, or the end of the supervisor."""
    try:
        set_up_logs(plan.log, "gateway")
        raise_descriptor_limit(plan.settings.sockets_max)
        asyncio.run(_live(plan, has_supervisor))
    except SettingsError as error:
        logger.error("{}", error)
        return EXIT_CONFIGURATION
    except AddressUnusable as error:
        advice = "" if has_supervisor else "; --http-port names another port, and gRPC is 1000 above it"
        logger.error("{}{}", error, advice)
        return EXIT_CONFIGURATION
    except Exception:
        logger.exception("the gateway failed")
        return EXIT_FAILED
    return 0


async def _live(plan: GatewayPlan, has_supervisor: bool) -> None:
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    if has_supervisor:
        loop.add_reader(_INPUT, _read_input, told_to_end)
    gateway = Gateway(plan)
    settle_collector()
    await gateway.run(told_to_end)


def _read_input(told_to_end: asyncio.Event) -> None:
    if not os.read(_INPUT, 4_096):
        asyncio.get_running_loop().remove_reader(_INPUT)
        if not told_to_end.is_set():
            logger.warning("the supervisor is gone")
            told_to_end.set()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of gRPC may still run; nothing of this life is worth waiting for
