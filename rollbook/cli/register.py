"""``rollbook register``: publish one instance and hold it until Ctrl-C or SIGTERM, then take it back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import Annotated

import typer

from rollbook import NamingClient
from rollbook.cli.options import (
    GroupOption,
    JsonOption,
    NamespaceOption,
    ServerOption,
    ServiceArgument,
    TimeoutOption,
    common_options,
    parse_address,
    parse_metadata,
    parse_service,
)
from rollbook.cli.output import (
    ExitCode,
    clock_text,
    instance_json,
    instance_text,
    moment_text,
    print_json,
    print_line,
    show_client_log,
)
from rollbook.model import DEFAULT_CLUSTER, DEFAULT_GROUP, DEFAULT_NAMESPACE, Instance, Service


class WaitFor(StrEnum):
    """Whose confirmation a registration waits for."""

    NODE = "node"
    CLUSTER = "cluster"
    SUBSCRIBERS = "subscribers"


def register(
    context: typer.Context,
    service: ServiceArgument,
    address: Annotated[str, typer.Argument(metavar="IP:PORT", help="Where it is served.", show_default=False)],
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    group: GroupOption = DEFAULT_GROUP,
    cluster: Annotated[str, typer.Option("--cluster", help="Cluster of the instance.")] = DEFAULT_CLUSTER,
    weight: Annotated[float, typer.Option("--weight", help="Its share of calls, 0 to 10000.")] = 1.0,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be given many times.")
    ] = None,
    wait: Annotated[
        WaitFor, typer.Option("--wait", help="Until this node has it, every living one, or all their subscribers.")
    ] = WaitFor.NODE,
    drain: Annotated[
        bool, typer.Option("--drain", help="At the end wait until every subscriber knows, or say who does not.")
    ] = False,
    timeout: TimeoutOption = 3.0,
    server: ServerOption = None,
    json: JsonOption = False,
) -> int:
    """Register an instance and hold it until Ctrl-C, then deregister it.

    It stays registered through failures of nodes, and is gone within a second if this process is killed. With --drain
    it ends when every subscriber on every node has acknowledged a list without it; exit code 1 names those who have
    not within the time-out.
    """
    common = common_options(context, server, json)
    wanted = parse_service(service, namespace, group)
    ip, port = parse_address(address, "IP:PORT")
    instance = Instance(ip.strip("[]"), port, cluster, weight, metadata=parse_metadata(metadata or []))
    say = _Teller(wanted, instance, common.json)
    show_client_log("INFO")  # which node holds the session, and when it moves
    with NamingClient(common.servers, namespace=namespace, app="rollbook-cli", timeout=timeout) as client:
        client.register_instance(
            wanted.name,
            instance.ip,
            instance.port,
            group=wanted.group,
            cluster=cluster,
            weight=weight,
            metadata=instance.metadata,
            wait=wait.value,
        )
        with _asked_to_end() as end:
            say.fact("registered")
            end.wait()
            client.deregister_instance(
                wanted.name,
                instance.ip,
                instance.port,
                group=wanted.group,
                cluster=cluster,
                wait="subscribers" if drain else "node",
            )
            say.fact("drained" if drain else "deregistered")
    return ExitCode.OK


class _Teller:
    """Says what happens to one instance, for people or as JSON lines."""

    def __init__(self, service: Service, instance: Instance, as_json: bool) -> None:
        self._service = service
        self._instance = instance
        self._as_json = as_json

    def fact(self, event: str) -> None:
        name = self._service.grouped_name
        if self._as_json:
            print_json(
                {"time": moment_text(), "event": event, "service": name, "instance": instance_json(self._instance)}
            )
        else:
            print_line(f"{clock_text()} {event} {name}  {instance_text(self._instance)}")


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C and by SIGTERM; a second one is obeyed at once."""
    end = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        end.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield end
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
