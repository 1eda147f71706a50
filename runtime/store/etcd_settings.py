"""What the etcd engine and its children hold at most and how long they wait; nothing here changes what is promised."""

from __future__ import annotations

import msgspec


class EtcdSettings(msgspec.Struct, frozen=True):
    """Section ``etcd``."""

    write_lanes_max: int
    read_lanes_max: int
    waiting_max: int
    waiting_bytes_max: int
    watches_max: int
    connect_ms_max: int
    answer_ms_max: int
    election_ms_max: int
    retry_interval_ms: int
    space_interval_ms: int
    status_ms_max: int
    census_interval_ms: int
    piece_ms_max: int
    first_page_rows_max: int
    page_rows_max: int
    page_bytes_max: int
    watch_open_ms_max: int
    watch_pause_ms_max: int
    watch_silence_ms: int
    watch_check_interval_ms: int
    children_max: int
    children_unencrypted: bool
    child_quota_mib_max: int
    child_compaction_minutes: int
    child_snapshot_changes_max: int
    child_progress_interval_ms: int
    child_stop_ms_max: int
    child_kill_ms_max: int
    child_log_bytes_max: int
