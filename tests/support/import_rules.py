"""House rules about who may import whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.support.house import Import, Objection, Rule, SourceFile, Tree, imports_of, python_files

# A room may import rooms below it, and itself. What is not named here (tests) has a rule of its own.
_RANKS = {"rollbook": 0, "actors/messages": 1, "actors": 2, "runtime": 3, "scripts": 4, "benchmarks": 5, "examples": 5}

_PURE_SDK_FILES = ("rollbook/model.py", "rollbook/errors.py", "rollbook/session.py", "rollbook/conversation.py")
_NEVER_IN_PURE_SDK_FILES = ("pykka", "zmq", "loguru", "threading", "time", "random")
_NEVER_IN_SIMULATION = ("zmq", "threading", "time")
# Each of these is a port, or the business of the shell that runs the actor.
_NEVER_IN_ACTORS = (
    *("pykka", "threading", "zmq", "socket", "os", "loguru"),
    *("time", "datetime", "secrets", "uuid"),
)
_ONLY_IN_MESSAGES = (
    *("__future__", "collections.abc", "dataclasses", "enum", "typing", "msgspec"),
    *("actors.messages", "rollbook.catalog", "rollbook.checkers", "rollbook.durable", "rollbook.durable_bodies"),
    *("rollbook.errors", "rollbook.http_clients", "rollbook.model", "rollbook.wire"),
)

# The command line, in one file or several, and the test fixture; rollbook/client.py is neither.
_FRONT_DOOR = re.compile(r"rollbook/(testing\.py|cli(_\w+)?\.py|cli/.+)")
_ACTOR_FILE = re.compile(r"(\w+_(manager|actor|timer|checker)|distro|distro_sync|push|persistent_store)")


def imports_point_one_way(tree: Tree) -> Iterator[Objection]:
    """scripts → runtime → actors → actors/messages → rollbook."""
    for source in tree:
        rank = _rank(source.path)
        if rank is None or source.room == "rollbook":
            continue  # The rule below is stricter about rollbook.
        for item in imports_of(source):
            other = _rank(PurePosixPath(*item.name.split(".")))
            if other is not None and other > rank:
                advice = "move what both need into the lower room, or hand it in"
                yield _objection(source, item, f"{_room_name(source)} must not import {item.name}: {advice}")


def rollbook_stands_alone(tree: Tree) -> Iterator[Objection]:
    """An application that imports rollbook gets no server with it."""
    others = [room for room in _RANKS if room != "rollbook" and "/" not in room]
    for source in tree:
        if source.room != "rollbook":
            continue
        is_exempt = bool(_FRONT_DOOR.fullmatch(str(source.path)))
        for item in imports_of(source):
            if not item.comes_from(*others):
                continue
            if not (is_exempt and item.comes_from("actors", "runtime")):
                yield _objection(
                    source, item, f"rollbook must not import {item.name}: only cli and testing may, lazily"
                )
            elif not item.is_lazy:
                yield _objection(source, item, f"import {item.name} inside the function that needs it")


def the_model_is_pure(tree: Tree) -> Iterator[Objection]:
    """Values, errors and session decisions know no actor, socket, clock or chance."""
    advice = "this file only computes, take it as an argument"
    yield from _never(tree, _PURE_SDK_FILES, _NEVER_IN_PURE_SDK_FILES, advice)


def actors_are_pure(tree: Tree) -> Iterator[Objection]:
    """A behaviour is handed time, chance and identity, and returns what it wants done."""
    advice = "take it from what the stage hands in (actors/base.py), or return an effect that runtime performs"
    yield from _never(tree, ("actors",), _NEVER_IN_ACTORS, advice)


def actors_draw_from_the_chance_they_are_handed(tree: Tree) -> Iterator[Objection]:
    """``random.Random`` may be named as a type; whatever else the module offers draws from a hidden source."""
    for source, module in python_files(tree):
        if not source.lies_in("actors"):
            continue
        called = {id(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}
        for node in ast.walk(module):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"):
                continue
            if node.attr != "Random" or id(node) in called:
                yield Objection(source.path, node.lineno, f"random.{node.attr} is hidden chance: use what is handed in")


def actors_know_no_other_actor(tree: Tree) -> Iterator[Objection]:
    """Actors share messages, never each other's code."""
    modules = {_module_name(source.path) for source in tree if _is_actor_file(source)}
    for source in tree:
        if not _is_actor_file(source):
            continue
        for item in imports_of(source):
            if item.comes_from(*modules - {_module_name(source.path)}):
                advice = "tell it a message of actors/messages, or move what both need into a helper module"
                yield _objection(source, item, f"an actor must not import another actor's {item.name}: {advice}")


def messages_are_values(tree: Tree) -> Iterator[Objection]:
    """A message is made of values, so its module needs little."""
    for source in tree:
        if not source.lies_in("actors/messages"):
            continue
        for item in imports_of(source):
            if not item.comes_from(*_ONLY_IN_MESSAGES):
                advice = f"messages carry plain values and import only {', '.join(_ONLY_IN_MESSAGES)}"
                yield _objection(source, item, f"a message module must not import {item.name}: {advice}")


def the_simulation_is_deterministic(tree: Tree) -> Iterator[Objection]:
    """One thread, virtual time, a network made of lists."""
    advice = "use the virtual clock, network and scheduler of the simulation"
    yield from _never(tree, ("runtime/simulation",), _NEVER_IN_SIMULATION, advice)


def production_knows_no_simulation(tree: Tree) -> Iterator[Objection]:
    """The simulation stands on the runtime, not the other way round."""
    for source in tree:
        if not source.lies_in("runtime") or source.lies_in("runtime/simulation"):
            continue
        for item in imports_of(source):
            if item.comes_from("runtime.simulation"):
                advice = "let the simulation hand in its stand-in where the real thing is built"
                yield _objection(source, item, f"production code must not import {item.name}: {advice}")


def nobody_imports_tests(tree: Tree) -> Iterator[Objection]:
    """What tests need is not shipped; only tests and benchmarks share it."""
    for source in tree:
        if source.room in ("tests", "benchmarks"):
            continue
        for item in imports_of(source):
            if item.comes_from("tests"):
                yield _objection(source, item, f"{item.name} is not shipped: move what you need out of tests")


def _never(tree: Tree, places: tuple[str, ...], modules: tuple[str, ...], advice: str) -> Iterator[Objection]:
    for source in tree:
        if not source.lies_in(*places):
            continue
        for item in imports_of(source):
            if item.comes_from(*modules):
                yield _objection(source, item, f"{item.name} must not be imported here: {advice}")


def _objection(source: SourceFile, item: Import, advice: str) -> Objection:
    return Objection(source.path, item.line, advice)


def _rank(path: PurePosixPath) -> int | None:
    place = "/".join(path.parts[:2])
    return _RANKS.get(place, _RANKS.get(path.parts[0]) if path.parts else None)


def _room_name(source: SourceFile) -> str:
    return "actors/messages" if source.lies_in("actors/messages") else source.room


def _is_actor_file(source: SourceFile) -> bool:
    is_python = source.path.suffix == ".py"
    return is_python and source.path.parent == PurePosixPath("actors") and bool(_ACTOR_FILE.fullmatch(source.path.stem))


def _module_name(path: PurePosixPath) -> str:
    return ".".join(path.with_suffix("").parts)


IMPORT_RULES: list[Rule] = [
    imports_point_one_way,
    rollbook_stands_alone,
    the_model_is_pure,
    actors_are_pure,
    actors_draw_from_the_chance_they_are_handed,
    actors_know_no_other_actor,
    messages_are_values,
    the_simulation_is_deterministic,
    production_knows_no_simulation,
    nobody_imports_tests,
]
