"""``rollbook config check``: is this configuration valid, and what does it amount to?"""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rollbook.cli.options import JsonOption
from rollbook.cli.output import ExitCode, print_json, print_line

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings that differ from configs/defaults.toml; or the name of a ready set."
    ),
]


def check(
    context: typer.Context,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A file, or the name of a ready set.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> int:
    """Check a configuration file together with the environment, and print every setting that would be in force.

    Exit code 2 and one line if something is wrong; a misspelt name is answered by the nearest known one.
    """
    from runtime.settings import configured_members, load_settings

    loaded = load_settings(find_config(file))
    configured_members(loaded.node)  # what `start` would refuse is refused here
    settings = _values(loaded)
    defaults = _values(load_settings(environment={}))
    if json or context.find_root().params["json"]:
        print_json({"valid": True, "file": file, "settings": settings, "changed": _changed(settings, defaults)})
    else:
        _print_settings(settings, defaults)
    return ExitCode.OK


def find_config(text: str | None) -> Path | None:
    """A path; or, where no such file is, the name of a ready set in configs/, with or without its ending."""
    if text is None:
        return None
    from runtime.settings import DEFAULTS

    path = Path(text)
    ready_sets = DEFAULTS.parent
    for ready in (ready_sets / text, ready_sets / f"{text}.toml"):
        if not path.exists() and path.name == text and ready.is_file():
            return ready
    return path


def _values(settings: Any) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = msgspec.to_builtins(settings)
    return values


def _changed(settings: dict[str, dict[str, Any]], defaults: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{section}.{key}"
        for section, keys in settings.items()
        for key, value in keys.items()
        if value != defaults[section][key]
    ]


def _print_settings(settings: dict[str, dict[str, Any]], defaults: dict[str, dict[str, Any]]) -> None:
    """As TOML, so that it can be a file again; what differs from the defaults says so."""
    changed = _changed(settings, defaults)
    for section, keys in settings.items():
        print_line(f"[{section}]")
        for key, value in keys.items():
            note = f"  # default: {_toml(defaults[section][key])}" if f"{section}.{key}" in changed else ""
            print_line(f"{key} = {_toml(value)}{note}")
        print_line("")
    print_line(f"# valid; {len(changed)} differ from the defaults" + (f": {', '.join(changed)}" if changed else ""))


def _toml(value: Any) -> str:
    """JSON's notation of texts, numbers, truth and lists is TOML's too."""
    return json_text.dumps(value, ensure_ascii=False)
