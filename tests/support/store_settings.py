"""The shipped limits of the store engines; a test replaces what it is about."""

from __future__ import annotations

from runtime.store.etcd_settings import EtcdSettings
from runtime.store.sqlite_settings import SqliteSettings
from tests.support.settings import settings_of

ETCD = settings_of("etcd", EtcdSettings)
QUICK_ETCD = settings_of("etcd", EtcdSettings, watch_silence_ms=500)
SQLITE = settings_of("sqlite", SqliteSettings)
