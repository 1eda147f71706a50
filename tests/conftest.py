"""For all tests: how they are shared out among several processes."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from tests.support.workers import ThreeKinds  # a run in one process needs no xdist

    return ThreeKinds(config, log)
