"""The table of the original's tests in docs/compatibility.md: each case has a test of ours that exists, or a reason."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
HEADING = "## The original's own tests"
CASES = 120
REASON = "No test: "


class Case(NamedTuple):
    number: int
    original: str
    ours: str

    @property
    def tests(self) -> list[str]:
        return re.findall(r"`([\w/]+\.py::\w+)`", self.ours)


def cases_of(page: str) -> list[Case]:
    _, heading, chapter = page.partition(f"\n{HEADING}\n")
    assert heading, "the chapter is there"
    chapter = re.split(r"\n## ", chapter)[0]
    rows = [line.strip("|").split("|") for line in chapter.splitlines() if re.match(r"\| \d", line)]
    assert all(len(row) == 4 for row in rows), "a row has four cells"
    return [Case(int(row[0]), row[1].strip(), row[3].strip()) for row in rows]


@cache
def names_in(file: Path) -> frozenset[str]:
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    folder = ROOT if "/" in file else ROOT / "tests" / "gateway"
    return name.startswith("test_") and name in names_in(folder / file)


def test_every_case_has_a_row_and_one_only() -> None:
    assert [case.number for case in cases_of(PAGE.read_text())] == list(range(1, CASES + 1))


@pytest.mark.parametrize("case", cases_of(PAGE.read_text()), ids=lambda case: str(case.number))
def test_every_case_names_tests_that_exist_or_says_why_there_is_none(case: Case) -> None:
    assert case.original.startswith(("`", "the same"))
    assert [test for test in case.tests if not is_there(test)] == []
    if case.tests:
        assert REASON not in case.ours
    else:
        assert case.ours.startswith(REASON), "neither a test nor a reason"
        assert len(case.ours.split()) > len(REASON.split()) + 3, "a reason is a sentence"


def test_a_name_of_no_test_a_file_that_is_not_there_and_a_helper_are_found_out() -> None:
    own = "test_original_table.py"
    assert is_there(f"{own}::test_every_case_has_a_row_and_one_only")
    assert is_there(f"tests/gateway/{own}::test_every_case_has_a_row_and_one_only")
    assert not is_there(f"{own}::test_nothing")
    assert not is_there(f"{own}::is_there")
    assert not is_there("test_nowhere.py::test_nothing")
