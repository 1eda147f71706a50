"""What the section [health] refuses: networks that are none, and paces that cannot be kept."""

from __future__ import annotations

from typing import Any

import pytest

from rollbook.errors import SettingsError
from runtime.settings import load_settings


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("networks", ["10.0.0.0/8", "10.0.0.1/8"], "is no network"),
        ("networks", ["everywhere"], "is no network"),
        ("tcp_interval_ms_max", 999, "must be at least 1000, the shortest pause"),
        ("http_interval_ms_max", 499, "must be at least 500, the shortest pause"),
        ("tcp_factor_percent", 101, "must be at most 100, not 101"),
        ("tick_interval_ms", 0, "must be at least 1, not 0"),
        ("probes_per_second_max", 0, "must be at least 1, not 0"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_the_reason(key: str, value: Any, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refused:
        load_settings(overrides={"health": {key: value}}, environment={})
    assert refused.value.field == f"health.{key}"


def test_networks_may_be_said_in_the_environment() -> None:
    settings = load_settings(environment={"ROLLBOOK_HEALTH_NETWORKS": "192.0.2.0/24, ::1/128"})
    assert settings.health.networks == ("192.0.2.0/24", "::1/128")
