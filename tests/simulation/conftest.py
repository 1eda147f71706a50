"""Seeds: every test that asks for ``seed`` runs under several, and a failure says how to run it again."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

SEEDS_VARIABLE = "ROLLBOOK_SEEDS"  # "7", "1,2,3" or "100-199"
SEEDS_DEFAULT = "1-3"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        text = os.environ.get(SEEDS_VARIABLE, SEEDS_DEFAULT)
        metafunc.parametrize("seed", _seeds(text), ids=lambda seed: f"seed{seed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    callspec = getattr(item, "callspec", None)
    if report.failed and callspec is not None and "seed" in callspec.params:
        seed = callspec.params["seed"]
        report.sections.append(("run it again", f"{SEEDS_VARIABLE}={seed} python -m pytest '{item.nodeid}'"))
    return report


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds
