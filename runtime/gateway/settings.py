"""Section ``gateway`` of the settings."""

from __future__ import annotations

import msgspec

GRPC_PORT_OFFSET = 1_000  # official SDKs compute it from the HTTP port


class GatewaySettings(msgspec.Struct, frozen=True):
    """Values and reasons: configs/defaults.toml."""

    enabled: bool
    processes: int
    host: str
    tls_certificate: str
    tls_key: str
    tls_client_ca: str
    node_patience_ms: int
    resume_ms: int
    reconnect_ms: int
    request_timeout_ms: int
    requests_in_flight_max: int
    frames_queued_max: int
    node_gather_ms: int
    node_gather_above: int
    calls_per_session_max: int
    views_kept_max: int
    views_bytes_max: int
    leave_timeout_ms: int
    sockets_max: int
    http_connections_max: int
    http_connections_per_address_max: int
    http_calls_max: int
    http_lists_kept_max: int
    http_list_idle_ms: int
    http_beats_gather_ms: int
    http_beats_waiting_max: int
    http_udp_subscribers_max: int
    grpc_connections_max: int
    streams_max: int
    streams_per_address_max: int
    setup_ms: int
    detect_interval_ms: int
    silent_ms: int
    detect_answer_ms: int
    push_ack_ms: int
    push_retry_ms: int
    push_retry_ms_max: int
    cluster_lists_max: int
    services_max: int
    move_ms: int
    move_spread_ms: int
    fuzzy_patterns_max: int
    fuzzy_matches_max: int
    fuzzy_interval_ms: int
    isolation_ms: int
