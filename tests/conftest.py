"""For all tests: how they are shared out among several processes; none fails for being slow; Ctrl-C reaches what they
start, even where a shell that runs them in the background has taught them to ignore it."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import settings

# On a busy machine an example takes what it takes; a test that hangs is ended by its timeout.
settings.register_profile("rollbook", deadline=None)
settings.load_profile("rollbook")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from tests.support.workers import WholeScopes  # a run in one process needs no xdist

    return WholeScopes(config, log)
