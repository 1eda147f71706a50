"""One etcd member as a child process: found, started, adopted after its node was killed, stopped.

Beside its data directory lie ``etcd.pid``, which process it is and how it was started, and ``etcd.log``. A member that
outlived its node is taken over if it was started in just the same way, and ended otherwise; it is known by its number
and the time it began, never by name. One whose node died before it wrote that down carries its directory with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from runtime.processes import ProcessMark, carriers, is_running, mark_of, send_signal
from runtime.store.etcd_plan import (
    EtcdUnfit,
    EtcdVersion,
    MemberPlan,
    check_version,
    member_command,
    member_environment,
    parse_version,
)
from runtime.store.etcd_settings import EtcdSettings

POLL_SECONDS = 0.02
VERSION_SECONDS_MAX = 10.0
DIRECTORY_VARIABLE = "ROLLBOOK_CHILD_DIRECTORY"


class FoundEtcd(msgspec.Struct, frozen=True):
    """``warning``: one line for the operator, or nothing."""

    binary: str
    version: EtcdVersion
    warning: str


class _PidFile(msgspec.Struct, frozen=True):
    pid: int
    started: str
    command: list[str]


def find_etcd(binary: str = "etcd") -> FoundEtcd | None:
    """None if there is none on the path; EtcdUnfit if it must not be used."""
    if (path := shutil.which(binary)) is None:
        return None
    environment = member_environment(dict(os.environ))
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS_MAX,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EtcdUnfit(f"{path} cannot be run: {error}") from None
    version = parse_version(answer.stdout)
    return FoundEtcd(path, version, check_version(version))


class EtcdChild:
    """``directory`` is its own: 0700, nothing else in it. The data lies in ``plan.data_directory`` within."""

    def __init__(self, found: FoundEtcd, plan: MemberPlan, directory: Path, settings: EtcdSettings) -> None:
        self._command = member_command(found.binary, plan, found.version, settings)
        self._stop_seconds_max = settings.child_stop_ms_max / 1_000
        self._kill_seconds_max = settings.child_kill_ms_max / 1_000
        self._log_bytes_max = settings.child_log_bytes_max
        self._data = Path(plan.data_directory)
        self._directory = directory
        self._pid_file = directory / "etcd.pid"
        self._log_file = directory / "etcd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._mark: ProcessMark | None = None

    @property
    def mark(self) -> ProcessMark | None:
        return self._mark

    @property
    def is_running(self) -> bool:
        if self._process is not None:
            self._process.poll()  # takes it away once it has ended
        return self._mark is not None and is_running(self._mark)

    def start(self) -> bool:
        """True if a new process was started, False if one that still runs was taken over."""
        for directory in (self._directory, self._data):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
        if (orphan := self._read_pid_file()) is not None and orphan.command == self._command:
            mark = ProcessMark(orphan.pid, orphan.started)
            if is_running(mark):
                self._mark = mark
                return False
        self._end_remains(orphan)
        self._launch()
        return True

    def stop(self) -> bool:
        """True if it ended by itself, False if it had to be killed. Then there is no pid file any more."""
        ended_by_itself = self._end(self._mark) if self._mark is not None else True
        if self._process is not None:
            self._process.wait(self._kill_seconds_max)
        self._process = self._mark = None
        self._pid_file.unlink(missing_ok=True)
        return ended_by_itself

    def last_log_lines(self, count: int = 5) -> list[str]:
        """Why it ended, in its own words."""
        if not self._log_file.exists():
            return []
        with self._log_file.open("rb") as file:
            file.seek(max(0, self._log_file.stat().st_size - 4096 * count))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]

    def end_remains(self) -> None:
        """Of earlier lives, whatever they were started with."""
        self._end_remains(self._read_pid_file())

    def _end_remains(self, known: _PidFile | None) -> None:
        orphans = set(carriers(DIRECTORY_VARIABLE, str(self._directory.resolve())))
        if known is not None:
            orphans.add(ProcessMark(known.pid, known.started))
        for mark in sorted(orphans):
            self._end(mark)

    def _launch(self) -> None:
        if self._process is not None:
            self._process.wait(self._kill_seconds_max)  # it has ended, and is to be taken away
        if self._log_file.exists() and self._log_file.stat().st_size > self._log_bytes_max:
            self._log_file.replace(self._log_file.with_suffix(".log.old"))
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=member_environment(dict(os.environ)) | {DIRECTORY_VARIABLE: str(self._directory.resolve())},
                start_new_session=True,  # Ctrl-C is for the node, which stops its member in order
                cwd=self._directory,
            )
        self._mark = mark_of(self._process.pid)
        if self._mark is not None:  # else it has ended already, which ``is_running`` says
            self._write_pid_file(_PidFile(self._mark.pid, self._mark.started, self._command))

    def _end(self, mark: ProcessMark) -> bool:
        send_signal(mark, signal.SIGTERM)
        if self._has_ended(mark, self._stop_seconds_max):
            return True
        send_signal(mark, signal.SIGKILL)
        if not self._has_ended(mark, self._kill_seconds_max):
            raise EtcdUnfit(f"the etcd member with process number {mark.pid} cannot be ended")
        return False

    def _has_ended(self, mark: ProcessMark, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while is_running(mark):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _read_pid_file(self) -> _PidFile | None:
        try:
            return msgspec.json.decode(self._pid_file.read_bytes(), type=_PidFile)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            # Written in one step, so this is no half of ours. Should a member run on this data, etcd's own lock on it
            # keeps a second one out.
            return None

    def _write_pid_file(self, content: _PidFile) -> None:
        draft = self._pid_file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(content))
        draft.replace(self._pid_file)
