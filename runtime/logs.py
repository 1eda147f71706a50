"""Logs: loguru to standard error and, if wanted, to a file; the standard library's loggers (pykka) flow into it."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, get_args

import msgspec
from loguru import logger

from rollbook.errors import InvalidField, SettingsError
from rollbook.wire import LogLevel

if TYPE_CHECKING:
    from loguru import Record

FILE_ROTATION = "20 MB"
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


class _InForce:
    """What the logs of this process were set up with last: loguru itself is one for each process."""

    settings: LogSettings | None = None


def set_up_logs(settings: LogSettings) -> None:
    """One sink for people or collectors, one more for a file; SettingsError if that cannot be written."""
    logger.remove()
    logger.configure(extra={"node": "", "actor": ""})
    _add(sys.stderr, settings, enqueue=False)
    if settings.file:
        try:
            _add(settings.file, settings, enqueue=False, rotation=FILE_ROTATION, retention=FILES_KEPT)
        except OSError as error:
            raise SettingsError(
                f"cannot write the log file {settings.file}: {error.strerror}", field="log.file"
            ) from None
    logging.basicConfig(handlers=[LoguruHandler()], level=logging.INFO, force=True)
    _InForce.settings = settings


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
        set_up_logs(msgspec.structs.replace(settings, level=level))


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
