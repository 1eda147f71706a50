"""What one SDK connection is told of its lists, without streams and nodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from rollbook.errors import RequestTimeout, RollbookError
from rollbook.model import Instance, Service, View
from rollbook.orders import CallBody
from rollbook.wire import Subscribe, Unsubscribe
from runtime.gateway.resumption import Resumption
from runtime.gateway.sdk_stream import OnAnswer
from runtime.gateway.sdk_subscriptions import SdkSubscriptions
from runtime.gateway.service_lists import LIST_BYTES_MAX, ServiceLists
from runtime.gateway.settings import GatewaySettings
from tests.support.sdk_client import until
from tests.support.settings import settings_of

ORDERS = Service("public", "DEFAULT_GROUP", "orders")
SETTINGS = settings_of("gateway", GatewaySettings)


def view(version: int, *ports: int, weight: float = 1.0, text: str = "") -> View:
    instances = tuple(Instance("10.0.0.1", port, weight=weight, metadata={"text": text}) for port in ports)
    return View(ORDERS, version << 16, instances)


class Bench:
    """Both sides of the subscriptions: the SDK that is told, and the session that answers."""

    def __init__(self, *, reads_answers: bool = True) -> None:
        self.newest = view(1)
        self.asked: list[CallBody] = []
        self.failure: RollbookError | None = None  # in the place of every answer
        self.acknowledged: list[int] = []
        self.told: list[OnAnswer] = []
        self.resumption = Resumption(1_000, self._resumed)
        lists = ServiceLists(10, 1 << 30, 10)
        self.subscriptions = SdkSubscriptions(
            _Told(self), _Asked(self), lists, self.resumption, SETTINGS, reads_answers=reads_answers
        )
        self.resuming: list[asyncio.Task[None]] = []

    def _resumed(self) -> None:
        self.resuming.append(asyncio.get_running_loop().create_task(self.subscriptions.resume()))


class _Told:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def ask(self, name: object, kind: str, fields: bytes, timeout_ms: int, on_answer: OnAnswer) -> None:
        self._bench.told.append(on_answer)


class _Asked:
    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    async def ask(self, body: CallBody, timeout_ms: int) -> Any:
        self._bench.asked.append(body)
        if self._bench.failure is not None:
            raise self._bench.failure
        return self._bench.newest

    def acknowledge(self, service: Service, version: int) -> None:
        self._bench.acknowledged.append(version >> 16)


def run(script: Callable[[Bench], Awaitable[None]], *, reads_answers: bool = True) -> None:
    async def inner() -> None:
        await script(Bench(reads_answers=reads_answers))

    asyncio.run(inner())


def test_nothing_is_told_before_all_sessions_have_redone_and_then_only_what_differs() -> None:
    async def script(bench: Bench) -> None:
        bench.newest = view(1, 80)
        await bench.subscriptions.subscribe(ORDERS, "")
        bench.resumption.begin(["another session"])
        bench.resumption.met()
        bench.subscriptions.pushed(view(2))
        assert bench.told == []
        bench.newest = view(3, 80)
        bench.resumption.redone("another session")
        await asyncio.gather(*bench.resuming)
        assert bench.told == [], "the list is as it was"
        assert bench.acknowledged[-1] == 3

    run(script)


def test_what_has_really_changed_meanwhile_is_told() -> None:
    async def script(bench: Bench) -> None:
        bench.newest = view(1, 80)
        await bench.subscriptions.subscribe(ORDERS, "")
        bench.resumption.begin(["another session"])
        bench.resumption.met()
        bench.subscriptions.pushed(view(2))
        bench.newest = view(3, 81)
        bench.resumption.redone("another session")
        await asyncio.gather(*bench.resuming)
        assert len(bench.told) == 1
        assert bench.acknowledged == [1]
        bench.told[0](True)
        assert bench.acknowledged == [1, 3]

    run(script)


def test_who_leaves_the_answer_unread_is_told_what_it_lists_once() -> None:
    async def script(bench: Bench) -> None:
        bench.newest = view(1, 80)
        shown = await bench.subscriptions.subscribe(ORDERS, "")
        assert shown.view is bench.newest
        [answer] = bench.told
        assert bench.acknowledged == []
        answer(True)
        assert bench.acknowledged == [1]
        await bench.subscriptions.subscribe(ORDERS, "")
        assert len(bench.told) == 1, "it has that list"

    run(script, reads_answers=False)


def test_a_list_that_is_longer_than_sdks_take_holds_nobody_up() -> None:
    async def script(bench: Bench) -> None:
        await bench.subscriptions.subscribe(ORDERS, "")
        bench.subscriptions.pushed(view(2, *range(11), text="x" * (LIST_BYTES_MAX // 10)))
        assert bench.told == []
        assert bench.acknowledged == [1, 2]
        bench.subscriptions.pushed(view(3, 80))
        assert len(bench.told) == 1

    run(script)


def test_a_push_that_an_answer_overtook_is_acknowledged_once_the_sdk_has_it() -> None:
    async def script(bench: Bench) -> None:
        await bench.subscriptions.subscribe(ORDERS, "")
        newer = view(2, 80)
        bench.subscriptions.pushed(newer)
        bench.subscriptions.repeated(newer)
        assert bench.acknowledged == [1]
        bench.told[0](True)
        bench.subscriptions.repeated(newer)
        assert bench.acknowledged == [1, 2, 2]

    run(script)


def test_a_subscription_that_failed_is_not_left_to_the_node() -> None:
    async def script(bench: Bench) -> None:
        bench.failure = RequestTimeout("the node did not answer in time")
        for _ in range(2):
            with contextlib.suppress(RequestTimeout):
                await bench.subscriptions.subscribe(ORDERS, "")
            await until(lambda: bench.asked[-1:] == [Unsubscribe(ORDERS)], "nobody wants it")
        assert len(bench.asked) == 4
        bench.failure = None
        await bench.subscriptions.subscribe(ORDERS, "")
        bench.failure = RequestTimeout("the node did not answer in time")
        with contextlib.suppress(RequestTimeout):
            await bench.subscriptions.subscribe(ORDERS, "a")
        await asyncio.sleep(0)
        assert bench.asked[4:] == [Subscribe(ORDERS), Subscribe(ORDERS)], "its other list is still wanted"

    run(script)
