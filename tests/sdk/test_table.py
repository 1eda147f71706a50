"""The table of official SDKs in docs/compatibility.md names every test of this folder, and none that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compatibility.md"
HEADING = "## Official SDKs"


def named() -> set[str]:
    _, heading, chapter = PAGE.read_text().partition(f"\n{HEADING}\n")
    assert heading, "the chapter is there"
    return set(re.findall(r"`(test_\w+\.py::test_\w+)`", re.split(r"\n## ", chapter)[0]))


def written() -> set[str]:
    return {
        f"{file.name}::{node.name}"
        for file in HERE.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and file.name != Path(__file__).name
    }


def test_the_table_names_every_test_of_official_sdks_and_no_other() -> None:
    assert len(written()) > 20
    assert named() == written()
