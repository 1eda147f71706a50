"""How the command line speaks."""

from __future__ import annotations

import pytest

from rollbook.cli.output import ExitCode, exit_code_of, instance_text, plain, print_table, say_error
from rollbook.errors import ClusterUnreachable, InvalidField, NotConfirmed, Refused, RollbookError, SettingsError
from rollbook.model import Instance


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), ExitCode.USAGE),
        (InvalidField("x"), ExitCode.USAGE),
        (ClusterUnreachable("x"), ExitCode.UNREACHABLE),
        (Refused("x"), ExitCode.REFUSED),
        (NotConfirmed("x"), ExitCode.REFUSED),
        (RollbookError("x"), ExitCode.REFUSED),
    ],
)
def test_every_error_has_its_exit_code(error: RollbookError, code: ExitCode) -> None:
    assert exit_code_of(error) == code


def test_an_error_is_one_line_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("two\nlines", 20002)
    assert capsys.readouterr().err == "error: two lines (code 20002)\n"


def test_control_characters_of_strangers_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain("a\x1b[31mb\nc\u202ed é 中") == "a\\x1b[31mb\\nc\\u202ed é 中"
    print_table(["name"], [["\x1b[2J[bold]x[/bold]"]])
    assert "\\x1b[2J[bold]x[/bold]" in capsys.readouterr().out


def test_a_long_table_is_not_folded_when_nobody_looks_at_it_live(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "more"], [["x" * 120, "y"]])
    assert "x" * 120 in capsys.readouterr().out


def test_an_instance_in_one_line_says_only_what_is_unusual() -> None:
    assert instance_text(Instance("10.0.0.1", 80)) == "10.0.0.1:80"
    full = Instance("::1", 80, "EAST", 2.5, healthy=False, enabled=False, metadata={"b": "2", "a": "1"})
    assert instance_text(Instance("10.0.0.1", 80, ephemeral=False)) == "10.0.0.1:80  persistent"
    assert instance_text(full) == "[::1]:80  cluster EAST  weight 2.5  unhealthy  disabled  a=1 b=2"
