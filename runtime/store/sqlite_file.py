"""The database file of the embedded engine: made once, and known again ever after.

``store-id`` in the data directory says that there was a store and which; the file itself lies in ``store/`` and says
the same; beside it a witness says how far it had come. So a file that is lost, exchanged, older, half copied, damaged,
or cut off is a named error and never a silent start with less. ``StoreUnusable`` says in one sentence what helps.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from runtime.node_store import DirectoryFiles, StoreUnusable, write_durably
from runtime.store.sqlite_settings import SqliteSettings
from runtime.store.sqlite_tables import FORMAT, SCHEMA, find_damage
from runtime.store.sqlite_witness import WITNESS, witnessed_index

APPLICATION_ID = 0x526F6C6C  # "Roll": sqlite keeps it in the header of the file
FOLDER, FILE, MARKER = "store", "rows.sqlite", "store-id"

_TROUBLES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is damaged",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the file may not be opened",
    sqlite3.SQLITE_BUSY: "another process holds the file",
    sqlite3.SQLITE_INTERRUPT: "it took too long",
}


class FilesInUse:
    """The file, its write-ahead log and its witness, as their names found them when the store was opened."""

    def __init__(self, path: Path) -> None:
        self._names = tuple(map(str, (path, _log_path(path), path.with_name(WITNESS))))
        self._opened = self._look()

    def are_exchanged(self) -> bool:
        """One of them was removed or replaced. Asked with every commit."""
        return self._look() != self._opened

    def _look(self) -> list[tuple[int, int] | None]:
        return list(map(_device_and_number, self._names))


class StoreFile(NamedTuple):
    """A file that has been found to be the one that belongs here, and in order."""

    path: Path
    identity: str
    settings: SqliteSettings

    def connect(self, *, is_writer: bool) -> sqlite3.Connection:
        """In use from now on: it goes on with the files that it has, whatever becomes of their names."""
        how = "mode=rw" if is_writer else "mode=ro"  # neither makes a file
        connection = _connect(self.path, how, self.settings)
        try:
            if is_writer:
                _make_durable(connection, self.settings.write_ahead_bytes_max)
            connection.execute("SELECT newest FROM store").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def leave(self, writer: sqlite3.Connection) -> None:
        """Close it as a crash would: the file is not marked as closed, so its write-ahead log has to stay."""
        with contextlib.suppress(sqlite3.Error):  # then the file cannot be read either, and sqlite leaves the log alone
            pin = self.connect(is_writer=False)  # sqlite removes the log with the last connection that may write
            writer.close()
            pin.close()
        writer.close()


def open_store_file(directory: Path, settings: SqliteSettings) -> StoreFile:
    """The store of this data directory, made if there never was one."""
    folder = directory / FOLDER
    path = folder / FILE
    files = DirectoryFiles(directory)
    marked = (files.read(MARKER) or "").strip()
    try:
        _prepare(folder)
        if not path.exists():
            _refuse_if_lost(path, marked)
            _create(path, settings)
        _make_private(folder, path)
        _refuse_if_forbidden(folder, path)
        identity = _check(path, marked, settings)
    except OSError as error:
        raise StoreUnusable(f"the store {path} cannot be used: {error.strerror or error}") from None
    except sqlite3.Error as error:
        raise StoreUnusable(f"the store {path} cannot be used: {trouble_of(error)}") from None
    if not marked:
        write_durably(files, MARKER, identity)
    return StoreFile(path, identity, settings)


def primary_code(error: sqlite3.Error) -> int:
    """What kind of trouble; 0 for what the module itself objects to."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def trouble_of(error: sqlite3.Error) -> str:
    """For people, with the name that sqlite has for it where that tells more."""
    name = getattr(error, "sqlite_errorname", "")
    return _TROUBLES.get(primary_code(error)) or (f"{error} ({name})" if name else str(error))


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    DirectoryFiles(folder.parent).sync_directory()


def _refuse_if_lost(path: Path, marked: str) -> None:
    if marked:
        advice = f"put it back or restore a backup; to begin with an empty one, remove {MARKER} beside its folder"
        raise StoreUnusable(f"the store {path} is missing, though this node had one ({marked}): {advice}")
    if _log_path(path).exists():
        raise StoreUnusable(f"the store {path} is missing, but its write-ahead log is there: put the file back")


def _create(path: Path, settings: SqliteSettings) -> None:
    """Complete before it has its name: a crash leaves a draft, which the next start removes."""
    draft = path.with_suffix(".draft")
    for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = _connect(draft, "mode=rw", settings)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        connection.execute(
            "INSERT INTO store (id, identity, newest, oldest, is_closed) VALUES (1, ?, 0, 1, 1)", (os.urandom(8).hex(),)
        )
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={FORMAT}")
    finally:
        connection.close()
    draft.replace(path)
    DirectoryFiles(path.parent).sync_directory()


def _make_private(folder: Path, path: Path) -> None:
    """Whatever a copy or a volume made of the modes, nobody else reads what is here. sqlite's own files follow it."""
    for place, mode in ((folder, 0o700), (path, 0o600), (_log_path(path), 0o600), (folder / WITNESS, 0o600)):
        if place.exists() and place.stat().st_mode & 0o077:
            place.chmod(mode)


def _refuse_if_forbidden(folder: Path, path: Path) -> None:
    """sqlite would only say that something cannot be opened."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    for place in (folder, path):
        if not os.access(place, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check(path: Path, marked: str, settings: SqliteSettings) -> str:
    """Its identity, if this is the file, of a format that is known, and nothing of it is damaged or missing."""
    # Looking must change nothing: a connection that may write removes the write-ahead log when it is closed as the last
    # one, and one that does not promise to be alone makes an empty one.
    has_log = _log_path(path).exists()
    connection = _connect(path, "mode=ro" if has_log else "mode=ro&immutable=1", settings)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise StoreUnusable(f"the store {path} is damaged, or no store of rollbook: put the right file back")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found > FORMAT:
            raise StoreUnusable(
                f"the store {path} has format {found}, this version knows {FORMAT}: install a newer one"
            )
        damage = find_damage(connection)
        if damage:
            raise StoreUnusable(f"the store {path} is damaged ({damage}): restore a backup")
        identity, newest, is_closed = connection.execute("SELECT identity, newest, is_closed FROM store").fetchone()
    finally:
        connection.close()
    if not is_closed and not has_log:
        advice = "put both files back together, or restore a backup"
        raise StoreUnusable(f"the write-ahead log of the store {path} is missing, so changes are lost: {advice}")
    if marked and identity != marked:
        advice = f"put the right one back, or write {identity} into {MARKER} to accept this one"
        raise StoreUnusable(f"the store {path} is another one ({identity}) than this node had ({marked}): {advice}")
    if not marked and newest > 0:
        raise StoreUnusable(
            f"the store {path} has rows, but {MARKER} is missing: write {identity} into it to accept it"
        )
    _refuse_if_short(path, str(identity), newest)
    return str(identity)


def _refuse_if_short(path: Path, identity: str, newest: int) -> None:
    """Its write-ahead log is damaged, or it is an older copy: both end before what was acknowledged."""
    if (acknowledged := witnessed_index(path.parent, identity)) > newest:
        advice = f"restore a backup, or remove {WITNESS} beside it to go on without them"
        raise StoreUnusable(
            f"the store {path} has lost changes: it ends at {newest}, and {acknowledged} was acknowledged; {advice}"
        )


def _connect(path: Path, how: str, settings: SqliteSettings) -> sqlite3.Connection:
    """Each connection has one user at a time, though not always the same thread."""
    address, seconds = f"file:{quote(str(path))}?{how}", settings.busy_timeout_ms / 1_000
    return sqlite3.connect(address, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False)


def _make_durable(connection: sqlite3.Connection, write_ahead_bytes_max: int) -> None:
    """Only this connection writes, and moves the write-ahead log into the file."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # NORMAL loses the last commits with the power
    connection.execute(
        "PRAGMA fullfsync=1"
    )  # on macOS a plain fsync leaves data in the drive; elsewhere nothing changes
    connection.execute("PRAGMA checkpoint_fullfsync=1")
    connection.execute(f"PRAGMA journal_size_limit={write_ahead_bytes_max}")


def _log_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _device_and_number(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
