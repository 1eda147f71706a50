"""The file of a log: what it holds, how large it grows, and what is said while the disk takes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from runtime.logs import FILE_BYTES_MAX, FILES_KEPT, LogFile, LogSettings, set_up_logs


@pytest.fixture(autouse=True)
def _own_sinks() -> Iterator[None]:
    """A sink that stays adds words of its own to what later tests log."""
    yield
    logger.remove()


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("json", [False, True])
def test_every_line_stands_in_the_file_once(tmp_path: Path, json: bool) -> None:
    file = tmp_path / "below" / "node.log"
    set_up_logs(LogSettings("INFO", json, str(file)))
    logger.info("one %s {}")
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("two")
    set_up_logs(LogSettings("INFO", False, ""))
    logger.info("elsewhere")
    lines = lines_of(file)
    assert "one %s {}" in lines[0]
    assert "two" in lines[1]
    assert len([line for line in lines if "ValueError: why" in line]) == 1
    assert "" not in lines
    assert not any("elsewhere" in line for line in lines)


def test_a_file_is_limited_and_so_are_those_that_are_kept(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "node.log"))
    assert log.maxBytes == FILE_BYTES_MAX
    log.maxBytes = 1_000
    for _ in range(20 * (FILES_KEPT + 2)):
        log.write("x" * 99 + "\n")
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["node.log", *(f"node.log.{number}" for number in range(1, FILES_KEPT + 1))]
    assert all(file.stat().st_size <= 1_000 for file in files)


def test_a_full_disk_is_told_once_and_again_when_it_takes_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, file = Path("/dev/full"), tmp_path / "node.log"
    if not full.exists():
        pytest.skip("no /dev/full here")
    file.symlink_to(full)
    log = LogFile(str(file))
    for number in range(3):
        log.write(f"{number}\n")
    assert log.stream is not None
    with (tmp_path / "roomy").open("wb") as roomy:
        os.dup2(roomy.fileno(), log.stream.fileno())
    log.write("written\n")
    log.close()
    assert capsys.readouterr().err.splitlines() == [
        f"rollbook: cannot write the log file {file}: No space left on device; its lines are missing there",
        f"rollbook: the log file {file} is written again",
    ]
    assert lines_of(tmp_path / "roomy") == ["written"]
