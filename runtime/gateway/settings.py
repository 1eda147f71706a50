"""Section ``gateway`` of the settings."""

from __future__ import annotations

import msgspec

GRPC_PORT_OFFSET = 1_000  # official SDKs compute it from the HTTP port


class GatewaySettings(msgspec.Struct, frozen=True):
    """Values and reasons: configs/defaults.toml."""

    enabled: bool
    processes: int
    host: str
    node_patience_ms: int
    reconnect_ms: int
    request_timeout_ms: int
    requests_in_flight_max: int
    frames_queued_max: int
    calls_per_session_max: int
    views_kept_max: int
    views_bytes_max: int
    leave_timeout_ms: int
    sockets_max: int
    http_calls_max: int
    http_lists_kept_max: int
    http_list_idle_ms: int
    http_beats_gather_ms: int
    http_beats_waiting_max: int
    http_udp_subscribers_max: int
