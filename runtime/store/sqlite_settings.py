"""What the embedded engine holds at most and how long it waits; nothing here changes what it promises."""

from __future__ import annotations

import msgspec


class SqliteSettings(msgspec.Struct, frozen=True):
    """Section ``sqlite``."""

    waiting_max: int
    waiting_bytes_max: int
    group_max: int
    group_bytes_max: int
    readers_max: int
    reads_waiting_max: int
    log_changes_max: int
    log_bytes_max: int
    log_ms_max: int
    recent_changes_max: int
    recent_bytes_max: int
    write_ahead_bytes_max: int
    watches_max: int
    tell_changes_max: int
    advance_interval_ms: int
    retry_interval_ms: int
    tidy_interval_ms: int
    busy_timeout_ms: int
    restore_ms_max: int
    close_ms_max: int
