"""The patience and the limits of a client, each with its unit and its reason."""

from __future__ import annotations

import msgspec

from rollbook.orders import Chance

# ZMTP pings, sent and judged by libzmq's own thread, whatever the application does. A client notices a silent cut 2 to
# 2.5 s after it; its node, which each ping asks for so much patience, not before 4 s: the time between is for being
# registered elsewhere before the node lets go.
HEARTBEAT_INTERVAL_MS = 500
HEARTBEAT_TIMEOUT_MS = 2_000
HEARTBEAT_PATIENCE_MS = 4_500


class LinkSettings(msgspec.Struct, frozen=True):
    """Of one connection."""

    window_reserve: int = 16  # kept free of what the node announces, for pings and for its own way of counting
    idle_ms: int = 6_000  # a node silent for this long is asked whether it is there
    pong_ms: int = 3_000  # and is given up after this: before the others hide a node whose core hangs (12 s)
    answer_ms: int = 3_000  # a request without an answer for this long doubts the node; for twice as long condemns it
    check_ms: int = 500  # rhythm of looking at what is in flight


class SessionSettings(msgspec.Struct, frozen=True):
    """Of one client."""

    link: LinkSettings = LinkSettings()
    open_ms: int = 1_000  # for a connection, and again for its session: a silent server costs no more
    goodbye_ms: int = 1_000  # for the answer of a node that was left; its word has certainly arrived or never will
    steady_ms: int = 1_000  # the loss of a session that stood for this long is answered at once
    stall_ms: int = 1_000  # a tick later than this means that this process itself stood still
    calls_max: int = 10_000  # in progress; beyond it the caller is refused, so that memory is bounded
    redirects_max: int = 3  # pieces of advice followed in a row; then the client stays where it is
    redirect_memory_ms: int = 30_000  # advice after a longer rest starts a new row
    rebalance_memory_ms: int = 300_000  # the balance of nodes is not worth more than one move in this time
    stale_answers_max: int = 5  # a node that calls every number stale is not worth more tries
    overload_pause_ms: int = 100  # before what was answered OVER_LIMIT is sent again, with jitter
    cluster_wait_margin_ms: int = 200  # the node's NOT_CONFIRMED must arrive before the caller's own deadline
    repeat_pause_ms_min: int = 50  # before an order of unknown outcome is said again; doubled each time, with jitter
    repeat_pause_ms_max: int = 1_000  # within the usual 3 s of a call a store that is back is still noticed
    pause_ms_min: int = 50  # before the next server after a failure; doubled at each one in a row, with jitter
    pause_ms_max: int = 2_000  # it must be elsewhere before its old node's records are hidden


def growing_pause_ms(times: int, ms_min: int, ms_max: int, chance: Chance) -> int:
    """After so many failures in a row: longer each time, and with jitter against a herd."""
    pause_ms = min(ms_max, ms_min << min(times - 1, 10))
    return chance.randint(pause_ms // 2, pause_ms)
