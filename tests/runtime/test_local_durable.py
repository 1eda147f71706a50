"""Where a cluster on one machine keeps durable data: by what is there, by what is said, by what is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.local_durable import Durable, choose_durable
from runtime.local_node import ClusterTrouble


def folders(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"node-{number}" / "data" for number in range(1, 10)]


def leave(data: Path, name: str) -> None:
    (data / name).parent.mkdir(parents=True)
    (data / name).write_text("")


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    binary = tmp_path / "bin" / "etcd"
    binary.parent.mkdir()
    binary.write_text(f"#!/bin/sh\necho 'etcd Version: {version}'\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binary.parent}:/bin:/usr/bin")


def test_three_nodes_have_etcd_where_a_fit_one_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "3.5.9")
    chosen = [choose_durable(folders(tmp_path), count, {}) for count in (1, 2, 3, 9)]
    assert chosen == [Durable.ALONE, Durable.HOME, Durable.CHILDREN, Durable.CHILDREN]
    assert chosen[2].environment["ROLLBOOK_STORE_ENGINE"] == "etcd"
    assert choose_durable(folders(tmp_path), 3, {"ROLLBOOK_STORE_ENGINE": "single_home"}) is Durable.HOME


def test_without_a_fit_one_they_have_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_durable(folders(tmp_path), 3, {}) is Durable.HOME
    assert capsys.readouterr().err == ""
    install(tmp_path, monkeypatch, "3.5.2")
    assert choose_durable(folders(tmp_path), 3, {}) is Durable.HOME
    assert "etcd 3.5.2 must not be used" in capsys.readouterr().err


def test_what_is_there_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "3.5.9")
    data = folders(tmp_path)
    leave(data[0], "store-id")
    assert choose_durable(data, 3, {}) is Durable.HOME
    monkeypatch.setenv("PATH", str(tmp_path))
    leave(data[1], "etcd/seat")
    assert choose_durable(data, 3, {"ROLLBOOK_STORE_ENGINE": "single_home"}) is Durable.CHILDREN
    with pytest.raises(ClusterTrouble, match="durable data lies in etcd beside 3 nodes: start 3 or more"):
        choose_durable(data, 2, {})


def test_endpoints_count_before_everything(tmp_path: Path) -> None:
    assert choose_durable(folders(tmp_path), 3, {"ROLLBOOK_STORE_ENDPOINTS": "10.0.0.1:2379"}) is Durable.OUTSIDE
