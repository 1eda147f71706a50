"""Members by list and by watched file; addresses say the base port, peers meet three above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollbook.errors import SettingsError
from runtime.members_file import MembersFileWatch, peer_addresses, read_members_file


def test_peers_are_dialled_three_ports_above_what_is_written() -> None:
    written = ["10.0.0.1:8848", "node-2", "[::1]:8858", "10.0.0.1:8848"]
    assert peer_addresses(written) == ("10.0.0.1:8851", "node-2:8851", "[::1]:8861")


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:99999", "10.0.0.1:٣", "::1:8848", "a b:8848"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        peer_addresses([text])


def test_a_file_holds_one_address_a_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "cluster.conf"
    path.write_text("# our nodes\n\n10.0.0.1:8848  # the first\n  10.0.0.2\n10.0.0.1:8848\n")
    assert read_members_file(path) == ("10.0.0.1:8851", "10.0.0.2:8851")


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cluster.conf"
    path.write_text("10.0.0.1\n10.0.0.2:port\n")
    with pytest.raises(SettingsError, match=r"cluster\.conf, line 2: '10\.0\.0\.2:port' needs a port"):
        read_members_file(path)


@pytest.mark.parametrize("text", ["", "# nobody\n"])
def test_a_file_that_names_nobody_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.conf"
    path.write_text(text)
    with pytest.raises(SettingsError, match="names nobody"):
        read_members_file(path)


def test_a_watch_tells_changes_once_and_keeps_the_last_list_when_the_file_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "cluster.conf"
    path.write_text("10.0.0.1\n")
    told: list[tuple[str, ...]] = []
    refused: list[str] = []
    watch = MembersFileWatch(path, told.append, lambda error: refused.append(error.message))
    watch.look()
    assert (told, refused) == ([], [])  # what it held at the start is known already
    path.write_text("10.0.0.1\n10.0.0.2\n")
    watch.look()
    watch.look()
    assert (told, refused) == ([("10.0.0.1:8851", "10.0.0.2:8851")], [])
    path.write_text("10.0.0.1:?\n")
    os.utime(path, ns=(1, 1))
    watch.look()
    path.unlink()
    watch.look()
    assert len(told) == 1
    assert ["line 1" in refused[0], "cannot read" in refused[1]] == [True, True]
