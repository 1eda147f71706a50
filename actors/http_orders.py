"""Orders about HTTP clients: what a gateway's frame asks for, what an order makes of a publication, how both are
answered. Pure rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from actors.base import Now
from actors.forwards import AskedByClient, HttpBatch
from actors.messages.peers import HttpOrder, HttpOutcome, OutcomeWord
from actors.messages.values import Reply
from rollbook.errors import RETRYABLE, Code, InvalidField
from rollbook.http_clients import Beaten, BeatOutcome, Beats, HttpPatch, HttpPublish, HttpWithdraw
from rollbook.model import Instance, check_instance, check_service
from rollbook.wire import Done, Failed, Tag


class Wish(NamedTuple):
    """What is to be published from now on (None: nothing), and what to say of it once it is."""

    word: OutcomeWord
    instance: Instance | None
    renews: bool = False  # its client has been heard


def orders_of(body: Any, now: Now) -> Iterator[HttpOrder]:
    """The single orders of a client's frame. Each comes with a number that no earlier publication of the client should
    have, by the clock of the node that was asked."""
    number = now.wall_ms
    match body:
        case Beats(beats):
            for beat in beats:
                yield HttpOrder("beat", beat.service, beat.ip, beat.port, number, beat.instance)
        case HttpPublish(service, instance, mode):
            yield HttpOrder(mode, service, instance.ip, instance.port, number, instance)
        case HttpPatch(service, ip, port, changes):
            yield HttpOrder("patch", service, ip, port, number, changes=changes)
        case HttpWithdraw(service, ip, port):
            yield HttpOrder("withdraw", service, ip, port, number)


def check_order(order: HttpOrder) -> None:
    """InvalidField unless its values keep the rules of the model."""
    check_service(order.service)
    instance = order.instance
    if instance is None:
        check_instance(Instance(order.ip, order.port))
    else:
        check_instance(instance)
        if (instance.ip, instance.port) != (order.ip, order.port):
            raise InvalidField("ip and port are not those of the instance", field="instance")
    if instance is None and order.kind in ("register", "update"):
        raise InvalidField(f"an order to {order.kind} comes with an instance", field="instance")
    if order.changes is None and order.kind == "patch":
        raise InvalidField(f"an order to {order.kind} comes with changes", field="changes")


def wish_of(order: HttpOrder, held: Instance | None) -> Wish | HttpOutcome:
    """What the order makes of what is published now; or all that is to be said of it."""
    match order.kind:
        case "withdraw":
            return Wish("done", None)
        case "register":
            return Wish("done", order.instance, renews=True)
        case "beat" if held is not None:
            return Wish("renewed", with_health(held, healthy=True), renews=True)
        case "beat" if order.instance is not None:
            return Wish("registered", with_health(order.instance, healthy=True), renews=True)
        case "beat":
            return HttpOutcome("unknown")
        case _ if held is None:
            return refusal(Code.INSTANCE_NOT_FOUND, f"there is no instance {order.ip}:{order.port} that beats", "ip")
        case "update":
            assert order.instance is not None, "it was checked"
            return Wish("done", with_health(order.instance, healthy=held.healthy))
        case _:
            return Wish("done", _patched(order, held))


def with_health(instance: Instance, *, healthy: bool) -> Instance:
    return instance if instance.healthy is healthy else msgspec.structs.replace(instance, healthy=healthy)


def refusal(code: Code, sentence: str, field: str = "") -> HttpOutcome:
    return HttpOutcome("refused", 0, code, sentence, field, code in RETRYABLE)


def reply_of(batch: HttpBatch, asker: AskedByClient, *, isolated: bool) -> Reply:
    """The answer to a client whose batch is settled."""
    route, correlation, is_beats = asker
    outcomes = [outcome for outcome in batch.outcomes if outcome is not None]
    if is_beats:
        return Reply(route, correlation, Tag.BEATEN, Beaten(tuple(map(_of_beat, outcomes)), isolated))
    (outcome,) = outcomes
    if outcome.word == "refused":
        failed = Failed(outcome.code, outcome.message, outcome.field, outcome.retryable)
        return Reply(route, correlation, Tag.FAILED, failed)
    return Reply(route, correlation, Tag.DONE, Done(outcome.epoch, outcome.seq, outcome.stamp))


def _patched(order: HttpOrder, held: Instance) -> Instance:
    assert order.changes is not None, "it was checked"
    changes = {name: value for name, value in msgspec.structs.asdict(order.changes).items() if value is not None}
    return check_instance(msgspec.structs.replace(held, **changes))


def _of_beat(outcome: HttpOutcome) -> BeatOutcome:
    match outcome.word:
        case "refused":
            return BeatOutcome("refused", outcome.interval_ms, outcome.code, outcome.message, outcome.field)
        case "unknown":
            return BeatOutcome("unknown", outcome.interval_ms)
        case "renewed" | "registered":
            return BeatOutcome(outcome.word, outcome.interval_ms)
        case _:
            raise TypeError(f"a beat does not come to {outcome.word}")
