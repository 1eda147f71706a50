"""Who runs what when scripts/test.sh runs tests in several processes.

Tests with real nodes wait most of their time, have deadlines, and look for free ports: one worker runs them all, one
after the other. Chaos rounds have networks of their own, so another one may run them meanwhile, and official SDKs their
nodes: where these are killed they wait for half a minute at a time, so that file is one more scope. All others
compute: whoever is free takes the next.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

WHOLE = ("tests/cluster/test_chaos_round.py", "tests/cluster/", "tests/sdk/test_outages.py", "tests/sdk/")


class WholeScopes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """What takes longest is begun first: scopes are begun in order of size."""

    def _split_scope(self, nodeid: str) -> str:
        return next((scope for scope in WHOLE if nodeid.startswith(scope)), nodeid)
