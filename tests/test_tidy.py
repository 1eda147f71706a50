"""The house rules, applied to this tree; and for each rule, proof that it can fail."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.code_rules import (
    CODE_RULES,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    class_names_are_unique,
    errors_are_not_swallowed,
    every_test_can_fail,
    files_are_short,
    functions_are_short,
    modules_have_docstrings,
    no_test_sleeps,
    open_ends_name_their_issue,
    paths_are_not_of_one_machine,
)
from tests.support.house import Rule, SourceFile, parse, read_tree
from tests.support.import_rules import (
    IMPORT_RULES,
    actors_are_pure,
    actors_draw_from_the_chance_they_are_handed,
    actors_know_no_other_actor,
    imports_point_one_way,
    messages_are_values,
    nobody_imports_tests,
    production_knows_no_simulation,
    rollbook_stands_alone,
    the_model_is_pure,
    the_simulation_is_deterministic,
)

ROOT = Path(__file__).resolve().parent.parent
RULES = IMPORT_RULES + CODE_RULES


class Case(NamedTuple):
    """A rule and a small tree, given as path and text in turns."""

    rule: Rule
    files: tuple[str, ...]

    def tree(self) -> list[SourceFile]:
        return [parse(path, text) for path, text in zip(self.files[::2], self.files[1::2], strict=True)]


def case(rule: Rule, *files: str) -> Case:
    return Case(rule, files)


def named(cases: list[Case]) -> list[object]:
    return [pytest.param(item, id=f"{item.rule.__name__}-{item.files[-2]}-{n}") for n, item in enumerate(cases)]


BROKEN = [
    case(imports_point_one_way, "actors/push_actor.py", "from runtime import node"),
    case(imports_point_one_way, "actors/messages/push.py", "import actors.base"),
    case(imports_point_one_way, "actors/messages/push.py", "from ..base import Role"),
    case(imports_point_one_way, "actors/messages/push.py", "from actors import base"),
    case(imports_point_one_way, "runtime/node.py", "import scripts.story"),
    case(imports_point_one_way, "runtime/node.py", "def load(): return import_module('benchmarks.load')"),
    case(rollbook_stands_alone, "rollbook/client.py", "def start():\n    from runtime.node import Node"),
    case(rollbook_stands_alone, "rollbook/client.py", "import benchmarks.load"),
    case(rollbook_stands_alone, "rollbook/cli.py", "from runtime.node import Node"),
    case(rollbook_stands_alone, "rollbook/cli/start.py", "import actors"),
    case(rollbook_stands_alone, "rollbook/testing.py", "if TYPE_CHECKING:\n    from runtime.node import Node"),
    case(rollbook_stands_alone, "rollbook/testing.py", "def start():\n    from scripts import story"),
    case(the_model_is_pure, "rollbook/model.py", "import time"),
    case(the_model_is_pure, "rollbook/session.py", "def now():\n    from random import random"),
    case(actors_are_pure, "actors/client_manager.py", "from datetime import datetime"),
    case(actors_are_pure, "actors/messages/clients.py", "import os.path"),
    case(actors_are_pure, "actors/base.py", "import pykka"),
    case(
        actors_know_no_other_actor, "actors/index_manager.py", "", "actors/push_actor.py", "import actors.index_manager"
    ),
    case(actors_know_no_other_actor, "actors/verify_timer.py", "", "actors/push.py", "from actors import verify_timer"),
    case(
        actors_know_no_other_actor, "actors/push.py", "", "actors/health_checker.py", "from .push import PushSettings"
    ),
    case(messages_are_values, "actors/messages/push.py", "import json"),
    case(messages_are_values, "actors/messages/push.py", "from rollbook.codec import pack"),
    case(actors_draw_from_the_chance_they_are_handed, "actors/push_actor.py", "import random\nrandom.random()"),
    case(actors_draw_from_the_chance_they_are_handed, "actors/base.py", "import random\nx = random.Random(1)"),
    case(messages_are_values, "actors/messages/push.py", "from rollbook import model_of_something"),
    case(the_simulation_is_deterministic, "runtime/simulation/stage.py", "from time import monotonic"),
    case(production_knows_no_simulation, "runtime/node.py", "def start():\n    from runtime.simulation import stage"),
    case(production_knows_no_simulation, "runtime/node.py", "from . import simulation"),
    case(nobody_imports_tests, "examples/hello.py", "import tests.support.house"),
    case(nobody_imports_tests, "runtime/node.py", "from tests import support"),
    case(files_are_short, "runtime/node.py", "pass\n" * (FILE_LINES_MAX + 1)),
    case(files_are_short, "scripts/start_cluster.sh", "true\n" * (FILE_LINES_MAX + 1)),
    case(functions_are_short, "tests/test_x.py", "async def f():\n" + "    pass\n" * FUNCTION_LINES_MAX),
    case(errors_are_not_swallowed, "runtime/node.py", "try: f()\nexcept OSError: pass"),
    case(errors_are_not_swallowed, "runtime/node.py", "try: f()\nexcept OSError:\n    'never mind'\n    ..."),
    case(open_ends_name_their_issue, "runtime/node.py", "x = 1  # TODO: later"),
    case(open_ends_name_their_issue, "runtime/node.py", '"""One.\n\nFIXME two."""'),
    case(open_ends_name_their_issue, "docs/operations.md", "XXX say more"),
    case(paths_are_not_of_one_machine, "runtime/node.py", "# see /home/me/notes"),
    case(paths_are_not_of_one_machine, "runtime/node.py", 'def f():\n    """Reads /root/.cache."""'),
    case(paths_are_not_of_one_machine, "scripts/check.sh", "cd " + "/".join(["", "work", "checkout"])),
    case(paths_are_not_of_one_machine, "README.md", "file:///Users/me/rollbook"),
    case(modules_have_docstrings, "rollbook/__init__.py", ""),
    case(modules_have_docstrings, "tests/test_x.py", "# not a docstring\nx = 1"),
    case(class_names_are_unique, "rollbook/model.py", "class Peer: ...", "actors/base.py", "class Peer: ..."),
    case(class_names_are_unique, "runtime/node.py", "class A:\n    class B: ...\nclass B: ..."),
    case(no_test_sleeps, "tests/test_x.py", "import time\ntime.sleep(1)"),
    case(no_test_sleeps, "tests/support/x.py", "import time as clock\nnap = clock.sleep"),
    case(no_test_sleeps, "tests/test_x.py", "def f():\n    from time import sleep as nap"),
    case(every_test_can_fail, "tests/test_x.py", "def test_nothing():\n    run()"),
    case(every_test_can_fail, "tests/sim/test_x.py", "class TestX:\n    async def test_nothing(self): ..."),
]

KEPT = [
    case(imports_point_one_way, "runtime/node.py", "import actors.base, rollbook.model, runtime.clock, zmq"),
    case(imports_point_one_way, "actors/push_actor.py", "from .messages.push import Flush"),
    case(imports_point_one_way, "benchmarks/load.py", "import runtime.node, scripts.story"),
    case(imports_point_one_way, "tests/test_x.py", "import runtime.node, scripts.story"),
    case(rollbook_stands_alone, "rollbook/cli.py", "def start():\n    from runtime.node import Node"),
    case(rollbook_stands_alone, "rollbook/testing.py", "def start():\n    import actors"),
    case(the_model_is_pure, "rollbook/client.py", "import time"),
    case(actors_are_pure, "actors/base.py", "import operator\nfrom typing import Protocol"),
    case(actors_are_pure, "runtime/threads.py", "import pykka, threading"),
    case(actors_draw_from_the_chance_they_are_handed, "actors/base.py", "import random\nchance: random.Random"),
    case(actors_draw_from_the_chance_they_are_handed, "runtime/node.py", "import random\nrandom.random()"),
    case(
        actors_know_no_other_actor,
        "actors/push.py",
        "from actors.base import Role\nfrom actors.messages.push import Flush",
    ),
    case(messages_are_values, "actors/messages/push.py", "from rollbook.model import View\nfrom .values import Route"),
    case(messages_are_values, "actors/messages/push.py", "from __future__ import annotations\nimport msgspec"),
    case(the_simulation_is_deterministic, "runtime/clock.py", "import time"),
    case(production_knows_no_simulation, "runtime/simulation/stage.py", "from .network import Link"),
    case(production_knows_no_simulation, "rollbook/testing.py", "def f():\n    import runtime.simulation.cluster"),
    case(nobody_imports_tests, "benchmarks/load.py", "from tests.support import cluster"),
    case(files_are_short, "runtime/node.py", "pass\n" * FILE_LINES_MAX),
    case(files_are_short, "docs/protocol.md", "word\n" * (FILE_LINES_MAX + 1)),
    case(functions_are_short, "tests/test_x.py", "def f():\n" + "    pass\n" * (FUNCTION_LINES_MAX - 1)),
    case(errors_are_not_swallowed, "runtime/node.py", "try: f()\nexcept OSError:\n    count += 1"),
    case(open_ends_name_their_issue, "runtime/node.py", "x = 'TODO'  # TODO(#12): when peers speak it"),
    case(paths_are_not_of_one_machine, "README.md", "https://example.org/home/ tests/root/ $HOME/root/ ./home/"),
    case(modules_have_docstrings, "rollbook/__init__.py", '"""The public names."""'),
    case(class_names_are_unique, "rollbook/model.py", "class Peer: ...", "tests/test_x.py", "class Peer: ..."),
    case(no_test_sleeps, "tests/test_x.py", "import time\ntime.monotonic()\nclock.sleep(1)"),
    case(every_test_can_fail, "tests/test_x.py", "def test_x():\n    with pytest.raises(ValueError):\n        run()"),
    case(every_test_can_fail, "tests/test_x.py", "def test_x():\n    check_converged(nodes)"),
    case(every_test_can_fail, "tests/support/x.py", "def test_double(): ..."),
]


@pytest.fixture(scope="module")
def this_tree() -> list[SourceFile]:
    return read_tree(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_tree_keeps(rule: Rule, this_tree: list[SourceFile]) -> None:
    if objections := [str(objection) for objection in rule(this_tree)]:
        pytest.fail("\n".join(objections), pytrace=False)


@pytest.mark.parametrize("broken", named(BROKEN))
def test_a_broken_rule_is_named_with_place_and_advice(broken: Case) -> None:
    objections = list(broken.rule(broken.tree()))
    assert [str(objection.path) for objection in objections] == [broken.files[-2]]
    assert objections[0].line >= 1
    assert objections[0].advice


@pytest.mark.parametrize("kept", named(KEPT))
def test_what_is_allowed_is_left_alone(kept: Case) -> None:
    assert list(kept.rule(kept.tree())) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_is_shown_broken_and_kept(rule: Rule) -> None:
    assert rule in [item.rule for item in BROKEN]
    assert rule in [item.rule for item in KEPT]


def test_the_reader_finds_what_people_write_and_nothing_else(tmp_path: Path) -> None:
    written = [".ci/run", "README.md", "actors/messages/push.py", "scripts/check.sh", "setup.cfg"]
    others = [".venv/lib/x.py", "actors/__pycache__/x.py", "build/rollbook/x.py", "var/n0/x.toml", "tests/x.bin"]
    for path in written + others:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    assert [str(source.path) for source in read_tree(tmp_path)] == written


def test_the_reader_finds_this_very_tree(this_tree: list[SourceFile]) -> None:
    paths = [str(source.path) for source in this_tree]
    assert {"tests/test_tidy.py", "tests/support/house.py", "setup.cfg", "scripts/check.sh", ".ci/run"} <= set(paths)
