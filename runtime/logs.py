"""Logs: loguru to standard error and, if wanted, to a file; the standard library's loggers (pykka) flow into it."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from typing import TYPE_CHECKING, get_args

import msgspec
from loguru import logger

from rollbook.errors import InvalidField, SettingsError
from rollbook.wire import LogLevel

if TYPE_CHECKING:
    from loguru import Record

FILE_BYTES_MAX = 20_000_000
FILES_KEPT = 5
LOG_LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
_NAMES_ELSEWHERE: dict[str, LogLevel] = {"ALL": "DEBUG", "TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "ERROR"}


class LogSettings(msgspec.Struct, frozen=True):
    """Section ``log`` of the settings."""

    level: str
    json: bool
    file: str


class LoguruHandler(logging.Handler):
    """Hands what the standard library's loggers get to loguru, so that a dead pykka actor is never silent."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.bind(actor=record.name).opt(exception=record.exc_info).log(record.levelname, record.getMessage())


class LogFile(logging.handlers.RotatingFileHandler):
    """A file of limited size, and its last ones. Where the disk takes nothing, standard error is told once, and again
    when it does: every line stands there too."""

    terminator = ""  # lines come whole, with theirs

    def __init__(self, path: str) -> None:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        super().__init__(path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8")
        self._has_failed = False
        self._told: str | None = None

    def _open(self) -> io.TextIOWrapper:
        """Without a buffer: what the disk has not taken would be in the way of every later line, and of the end."""
        return io.TextIOWrapper(io.FileIO(self.baseFilename, self.mode), encoding=self.encoding, write_through=True)

    def write(self, line: str) -> None:
        """What loguru calls."""
        self.handle(logging.makeLogRecord({"msg": line}))

    def stop(self) -> None:
        """Likewise, when it lets the file go."""
        self.close()

    def emit(self, record: logging.LogRecord) -> None:
        self._has_failed = False
        super().emit(record)
        if not self._has_failed and self._told is not None:
            self._tell(None, f"the log file {self.baseFilename} is written again")

    def handleError(self, record: logging.LogRecord) -> None:
        self._has_failed = True
        error = sys.exc_info()[1]
        reason = str(error.strerror or error) if isinstance(error, OSError) else repr(error)
        if reason != self._told:
            self._tell(reason, f"cannot write the log file {self.baseFilename}: {reason}; its lines are missing there")

    def _tell(self, reason: str | None, sentence: str) -> None:
        self._told = reason
        print(f"rollbook: {sentence}", file=sys.stderr, flush=True)


class _InForce:
    """What the logs of this process were set up with last: loguru itself is one for each process."""

    settings: LogSettings | None = None
    actor = ""


def set_up_logs(settings: LogSettings, actor: str = "") -> None:
    """One sink for people or collectors, one more for a file; SettingsError if that cannot be written. ``actor`` is who
    speaks where nobody else is named."""
    logger.remove()
    logger.configure(extra={"node": "", "actor": actor})
    _add(sys.stderr, settings, enqueue=False)
    if settings.file:
        try:
            _add(LogFile(settings.file), settings, enqueue=False)
        except OSError as error:
            raise SettingsError(
                f"cannot write the log file {settings.file}: {error.strerror}", field="log.file"
            ) from None
    logging.basicConfig(handlers=[LoguruHandler()], level=logging.INFO, force=True)
    _InForce.settings, _InForce.actor = settings, actor


def level_named(said: str) -> LogLevel:
    """InvalidField if it is the name of none; others call some by another name."""
    wanted = _NAMES_ELSEWHERE.get(said.upper(), said.upper())
    for level in LOG_LEVELS:
        if level == wanted:
            return level
    raise InvalidField(f"a level is one of {', '.join(LOG_LEVELS)}, not {said[:64]}", field="level")


def change_level(level: LogLevel) -> None:
    """Of all logs of this process, from now on."""
    settings = _InForce.settings
    assert settings is not None, "logs are set up first"
    if settings.level != level:
        logger.warning("logs say {} and above from now on", level)
        changed = msgspec.structs.replace(settings, level=level)
        try:
            set_up_logs(changed, _InForce.actor)
        except SettingsError as error:  # its folder may be gone by now: no reason for a node to end
            set_up_logs(msgspec.structs.replace(changed, file=""), _InForce.actor)
            logger.error("{}", error)


def _add(sink: object, settings: LogSettings, **options: object) -> None:
    shape = {"serialize": True} if settings.json else {"format": _line}
    logger.add(sink, level=settings.level, backtrace=False, diagnose=False, **shape, **options)  # type: ignore[call-overload]


def _line(record: Record) -> str:
    """One human line; bound fields stand behind the fact."""
    fields = {
        name: value for name, value in record["extra"].items() if name not in ("node", "actor") and name[0] != "_"
    }
    shown = " ".join(f"{name}={value!r}" for name, value in fields.items())
    record["extra"]["_fields"] = f"  {shown}" if shown else ""
    return (
        "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <8}</level> "
        "<cyan>{extra[node]: <8.8} {extra[actor]: <11}</cyan> {message}<dim>{extra[_fields]}</dim>\n{exception}"
    )
