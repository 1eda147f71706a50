"""The stage of production, with tiny behaviours: effects in order, reminders, and the end when one raises."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loguru import logger

from actors.base import Effects, Log, Now, Remind, Role, Tell, Terminate
from runtime.handover import EXIT_FAILED
from runtime.logs import LogSettings, set_up_logs
from runtime.threads import Ending, ThreadStage

WAIT_SECONDS = 5.0


class Scripted:
    """Answers each message as the test says."""

    def __init__(self, role: Role, answer: Callable[[Any], Effects], at_start: Effects = ()) -> None:
        self.role = role
        self._answer = answer
        self._at_start = at_start

    def start(self, now: Now) -> Effects:
        return self._at_start

    def handle(self, message: Any, now: Now) -> Effects:
        return self._answer(message)

    def check_invariants(self) -> None:
        assert self.role is not Role.IO


@contextlib.contextmanager
def running(*behaviours: Scripted) -> Iterator[tuple[ThreadStage, queue.SimpleQueue[Any]]]:
    """A started stage, and what the actors tell the I/O."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stage = ThreadStage("n1", {Role.IO: told.put})
    stage.start(behaviours)
    try:
        yield stage, told
    finally:
        stage.stop()


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as facts with their fields."""
    lines: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        record = message.record
        lines.append({"level": record["level"].name, "fact": record["message"], **record["extra"]})

    number = logger.add(keep, level="DEBUG", format="{message}")
    yield lines
    logger.remove(number)


def echo(message: Any) -> Effects:
    return [Tell(Role.IO, message)]


def test_effects_are_performed_in_their_order() -> None:
    with running(Scripted(Role.INDEX, lambda message: [Tell(Role.IO, (message, part)) for part in range(3)])) as world:
        stage, told = world
        for number in range(20):
            stage.tell(Role.INDEX, number)
        assert [told.get(timeout=WAIT_SECONDS) for _ in range(60)] == [
            (n, part) for n in range(20) for part in range(3)
        ]


def test_an_actor_that_starts_first_can_tell_one_that_starts_last() -> None:
    eager = Scripted(Role.VERIFY, echo, at_start=[Tell(Role.MEMBERS, "early")])
    with running(eager, Scripted(Role.MEMBERS, echo)) as (_, told):
        assert told.get(timeout=WAIT_SECONDS) == "early"


def test_reminders_come_back_to_their_actor_by_due_time() -> None:
    def answer(message: Any) -> Effects:
        return [Remind(60, "later"), Remind(1, "soon"), Remind(1, "soon too")] if message == "go" else echo(message)

    with running(Scripted(Role.PUSH, answer)) as (stage, told):
        stage.tell(Role.PUSH, "go")
        assert [told.get(timeout=WAIT_SECONDS) for _ in range(3)] == ["soon", "soon too", "later"]


def test_a_logged_fact_is_bound_to_its_node_and_actor(log_lines: list[dict[str, Any]]) -> None:
    fact = Log("WARNING", "a {fact} with braces", {"client": "c1"})
    with running(Scripted(Role.CLIENTS, lambda message: [fact, *echo(message)])) as (stage, told):
        stage.tell(Role.CLIENTS, "go")
        told.get(timeout=WAIT_SECONDS)
    wanted = {"level": "WARNING", "fact": fact.fact, "node": "n1", "actor": "clients", "client": "c1"}
    assert wanted in log_lines


def test_the_first_ending_counts() -> None:
    with running(Scripted(Role.MEMBERS, lambda message: [Terminate(*message)])) as (stage, _):
        stage.tell(Role.MEMBERS, (75, "others know a higher epoch", 900))
        assert stage.wait() == Ending(75, "others know a higher epoch", 900)
        stage.tell(Role.MEMBERS, (0, "left"))
        assert stage.wait().exit_code == 75


def test_a_behaviour_that_raises_ends_the_node_and_leaves_its_story(log_lines: list[dict[str, Any]]) -> None:
    def answer(message: Any) -> Effects:
        if message == "bad":
            raise KeyError("lost")
        return echo(message)

    with running(Scripted(Role.INDEX, answer)) as (stage, told):
        for message in (1, "bad", "after"):
            stage.tell(Role.INDEX, message)
        ending = stage.wait()
        assert (ending.exit_code, ending.reason) == (EXIT_FAILED, "index failed: KeyError: 'lost'")
    assert told.get(timeout=WAIT_SECONDS) == 1
    assert told.empty()  # its tables may be half changed, so it handles nothing more
    (line,) = [line for line in log_lines if line["level"] == "CRITICAL"]
    assert [entry.split()[1] for entry in line["story"]] == ["int", "str"]
    assert (line["actor"], line["message_handled"]) == ("index", "'bad'")


def test_a_behaviour_that_raises_at_its_start_ends_the_node() -> None:
    with running(Scripted(Role.INDEX, echo, at_start=[Tell("nobody", 1)])) as (stage, _):  # type: ignore[arg-type]
        assert stage.wait().exit_code == EXIT_FAILED


def test_what_is_told_while_the_node_ends_harms_nobody() -> None:
    with running(Scripted(Role.INDEX, echo)) as (stage, _):
        stage.end(Ending(0, "left"))
        stage.stop()
        stage.tell(Role.INDEX, "late")
        assert stage.wait().exit_code == 0


def test_what_the_standard_library_logs_reaches_the_same_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logs(LogSettings("INFO", True, ""))
        logging.getLogger("pykka").error("an actor died of {braces}")
    finally:
        logger.remove()
        root.handlers[:], root.level = handlers, level
    record = json.loads(capsys.readouterr().err)["record"]
    assert record["message"] == "an actor died of {braces}"
    assert (record["level"]["name"], record["extra"]["actor"]) == ("ERROR", "pykka")
