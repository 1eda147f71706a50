"""Parameters as strangers write them."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from rollbook.errors import InvalidField
from runtime.gateway.http_calls import HttpCall, grouped_service, metadata_of
from runtime.gateway.http_errors import ParameterMissing


def call(**parameters: str) -> HttpCall:
    return HttpCall("GET", "/", parameters, Headers())


@pytest.mark.parametrize("text", ["true", "True", "ON", "y", "T", "yes"])
def test_many_words_are_true(text: str) -> None:
    assert call(flag=text).flag("flag", default=False)


@pytest.mark.parametrize("text", ["false", "False", "0", "1", "no"])
def test_every_other_word_is_false_and_blank_is_the_default(text: str) -> None:
    assert not call(flag=text).flag("flag", default=True)
    assert call(flag=" ").flag("flag", default=True)
    assert call().flag_or_none("flag") is None


@pytest.mark.parametrize("text", ["x", "1.5", "0x10", "1_0", "٣", "--1", "9" * 19, "1 0"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        call(port=text).whole_number("port")


@pytest.mark.parametrize(("text", "value"), [("2", 2.0), (" 2.0 ", 2.0), (".5", 0.5), ("1e2", 100.0), ("-1", -1.0)])
def test_numbers(text: str, value: float) -> None:
    assert call(weight=text).number("weight", default=1.0) == value


@pytest.mark.parametrize("text", ["nan", "inf", "Infinity", "1e", "1e9999", "٣", "1_0", "1.5.5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        call(weight=text).number("weight", default=1.0)


def test_the_first_name_that_was_said_counts() -> None:
    assert call(clusterName="", cluster="b").cluster() == "b"
    assert call(clusterName="a", cluster="b").cluster() == "a"
    assert not call(enable="False").flag("enabled", "enable", default=True)


def test_what_must_be_said_is_named() -> None:
    with pytest.raises(ParameterMissing, match="Param 'ip' is required"):
        call(ip="  ").required("ip")
    with pytest.raises(ParameterMissing, match="Parameter 'entry' is missing"):
        call().required("entry", is_declared=True)


@pytest.mark.parametrize("name", ["@@s", "g@@", "@@", "g@@a@@b"])
def test_half_a_grouped_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidField):
        grouped_service("", "", name)


@pytest.mark.parametrize("text", ["x", "=v", "{", "{]", '{"a":', "[1]", ",", "a=b,c"])
def test_what_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="metadata format incorrect:"):
        metadata_of(text)
