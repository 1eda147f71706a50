"""The description of the HTTP API, held against the handlers themselves: what they read, what they refuse, what they
say. A route, a parameter or a status that is missing there, or stands there for nothing, is found here."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_origin

import msgspec
import pytest
from loguru import logger
from starlette.datastructures import Headers
from starlette.responses import Response

from rollbook.errors import RollbookError
from runtime.gateway.api.document import OPERATIONS, Described, Place, described
from runtime.gateway.api.operations import ApiOperation
from runtime.gateway.api.parameters import HEADERS, PARAMETERS
from runtime.gateway.fuzzy_watch import FuzzyWatches
from runtime.gateway.http_app import HttpApp
from runtime.gateway.http_calls import HttpCall
from runtime.gateway.http_errors import ParameterMissing, refusal_as_result
from runtime.gateway.http_routes import AnswerStyle, HttpRoute, RefusedResult
from runtime.gateway.node_link import NodeLink
from runtime.gateway.sdk_connections import SdkConnections
from runtime.gateway.service_lists import ServiceLists
from runtime.gateway.settings import GatewaySettings
from runtime.local_socket import LocalSocket
from runtime.logs import LogSettings, set_up_logs
from tests.support.bare_node import BareNode
from tests.support.documented import DOCUMENT
from tests.support.http_gateway import HttpCaller
from tests.support.sdk_client import until
from tests.support.settings import settings_of

pytestmark = pytest.mark.cluster

SAYS_IT_ELSEWHERE = "/instance/beat"  # what is needed may stand within ``beat``
HEADERS_SAID = Headers({"host": "127.0.0.1:8848", "long-pulling-timeout": "0"})


@pytest.fixture
def logs() -> Iterator[None]:
    """Of this process, for a call changes their level."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs(LogSettings("INFO", False, ""))
    yield
    logger.remove()
    root.handlers[:], root.level = handlers, level


class Asked(dict[str, str]):
    """Parameters that remember which of them were asked for."""

    def __init__(self, said: Mapping[str, str]) -> None:
        super().__init__(said)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)


class Trial(NamedTuple):
    asked: set[str]
    said: object
    error: RollbookError | None


async def tried(place: Place, each: Described, names: list[str], changed: Mapping[str, str]) -> Trial:
    """The handler, called with these parameters."""
    (method, path), (route, _) = place, each
    parameters = Asked({name: changed.get(name, PARAMETERS[name].example) for name in names if name in PARAMETERS})
    _, brace, word = path.partition("{")
    tail = parameters.pop(word[:-1], "") if brace else ""
    call = HttpCall(method, path, parameters, HEADERS_SAID, peer_ip="127.0.0.1", tail=tail)
    try:
        return Trial(parameters.names, await route.answer(call), None)
    except RollbookError as error:
        return Trial(parameters.names, None, error)


def variants(each: Described) -> Iterator[tuple[list[str], dict[str, str]]]:
    """What is needed, with nothing else, with all else, with all else but one, and with one: flags either way round."""
    needed, taken = each.operation.needs.split(), each.operation.takes.split()
    yield needed, {}
    yield [*needed, *taken], {}
    for name in taken:
        yield [*needed, name], {}
        yield [*needed, *(other for other in taken if other != name)], {}
        if name in PARAMETERS and PARAMETERS[name].kind is bool:
            yield [*needed, name], {name: "false" if PARAMETERS[name].example == "true" else "true"}


class Findings:
    """Of one call of the API."""

    def __init__(self, place: Place, each: Described) -> None:
        self.place = place
        self.operation = each.operation
        self._each = each
        self._asked: set[str] = set()
        self.has_answered = False
        self.objections: list[str] = []

    async def look(self) -> None:
        for names, changed in variants(self._each):
            trial = await tried(self.place, self._each, names, changed)
            self._asked |= trial.asked
            if isinstance(trial.error, ParameterMissing) and not self.place[1].endswith(SAYS_IT_ELSEWHERE):
                self._object(f"{trial.error.field} is needed besides {names}")
            self._check(trial)
        self._compare()

    async def look_for_missing(self) -> None:
        needed = self.operation.needs.split()
        for missing in (name for name in needed if f"{{{name}}}" not in self.place[1]):
            trial = await tried(self.place, self._each, [name for name in needed if name != missing], {})
            if trial.error is None or refusal_as_result(trial.error).status != 400:
                self._object(f"{missing} is not needed: {trial.said or trial.error}")

    def _compare(self) -> None:
        operation = self.operation
        documented = {*operation.needs.split(), *operation.takes.split()}
        in_path = {name for name in documented if f"{{{name}}}" in self.place[1]}
        for name in sorted(self._asked - documented):
            self._object(f"it reads {name}")
        for name in sorted(documented - self._asked - in_path - HEADERS.keys()):
            self._object(f"it does not read {name}")

    def _check(self, trial: Trial) -> None:
        operation = self.operation
        if trial.error is not None:
            status = refusal_as_result(trial.error).status
            if status not in operation.statuses():
                self._object(f"status {status}: {trial.error}")
            return
        self.has_answered = True
        shown = None if isinstance(trial.said, RefusedResult) else shape_of(trial.said)
        try:
            msgspec.convert(shown, operation.answer)
        except msgspec.ValidationError as error:
            self._object(f"{shown}: {error}")

    def _object(self, sentence: str) -> None:
        self.objections.append(f"{' '.join(self.place)}: {sentence}")


def shape_of(said: object) -> object:
    if isinstance(said, Response):
        if said.media_type == "application/json":
            return msgspec.json.decode(said.body)
        return bytes(said.body).decode() or None
    if isinstance(said, msgspec.Raw):
        return msgspec.json.decode(said)
    return msgspec.json.decode(msgspec.json.encode(said))


def has_shape(operation: ApiOperation) -> bool:
    """What it answers is more than a word."""
    return operation.answer not in (None, bool) and get_origin(operation.answer) is not Literal


def in_order(places: dict[Place, Described]) -> list[Findings]:
    """Those that make something come first, and those that take it away last."""
    order = ("POST", "PUT", "GET", "PATCH", "DELETE")
    return [
        Findings(place, places[place]) for place in sorted(places, key=lambda place: (order.index(place[0]), place))
    ]


def with_routes(node: BareNode, script: Callable[[dict[Place, Described]], Awaitable[None]]) -> None:
    async def run() -> None:
        settings = settings_of("gateway", GatewaySettings, request_timeout_ms=20_000)
        local = LocalSocket(node.data)
        chance, lists = random.Random(1), ServiceLists(8, 1 << 20, 8)
        link = NodeLink(local.endpoint, settings, chance)
        connections = SdkConnections(link, lists, FuzzyWatches(link, settings), settings, chance)
        app = HttpApp(link, lists, settings, connections)
        link.start()
        try:
            await until(lambda: link.is_up, "the link is up")
            await script(described([app.routes.routes], OPERATIONS))
        finally:
            await app.stop()
            await link.stop()
            local.close()

    asyncio.run(run())


@pytest.mark.usefixtures("logs")
def test_what_is_said_of_each_call_is_what_its_handler_does(lasting_node: BareNode) -> None:
    async def script(places: dict[Place, Described]) -> None:
        all_findings = in_order(places)
        for findings in all_findings:
            await findings.look()
        for findings in all_findings:
            await findings.look_for_missing()
        if objections := [objection for findings in all_findings for objection in findings.objections]:
            pytest.fail("\n".join(objections), pytrace=False)
        shown = {id(findings.operation) for findings in all_findings if findings.has_answered}
        shapes = [each.operation for each in all_findings if has_shape(each.operation)]
        assert [operation.paths for operation in shapes if id(operation) not in shown] == []

    with_routes(lasting_node, script)


def test_nothing_is_said_of_what_there_is_not(lasting_node: BareNode) -> None:
    async def script(places: dict[Place, Described]) -> None:
        said = {
            (method, path)
            for operation in OPERATIONS
            for path in operation.paths.split()
            for method in operation.methods.split()
        }
        assert said - places.keys() == set()
        named = {name for _, operation in places.values() for name in f"{operation.needs} {operation.takes}".split()}
        assert named == {*PARAMETERS, *HEADERS}

    with_routes(lasting_node, script)


def test_a_route_of_which_nothing_is_said_is_named() -> None:
    async def answer(_: HttpCall) -> object:
        return None

    route = HttpRoute("GET", "/v9/unheard-of", AnswerStyle.WORDS, answer)
    with pytest.raises(KeyError, match="unheard-of"):
        described([[route]], OPERATIONS)


def test_the_document_in_docs_is_what_a_gateway_serves(caller: HttpCaller) -> None:
    answer = caller.ask("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.body + b"\n" == DOCUMENT.read_bytes(), "run scripts/build_openapi.sh"
