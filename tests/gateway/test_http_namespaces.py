"""Namespaces through every version of the HTTP API, at one node that keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_gateway import HttpCaller

pytestmark = pytest.mark.cluster

V1, V2, V3 = "/v1/console/namespaces", "/v2/console/namespace", "/v3/admin/core/namespace"
CONSOLE = "/v3/console/core/namespace"


def shown(caller: HttpCaller, namespace_id: str) -> Any:
    listed = caller.ask("GET", f"{V3}/list").json["data"]
    return next((one for one in listed if one["namespace"] == namespace_id), None)


def test_the_one_that_is_built_in_is_there_and_has_no_id_in_the_older_versions(caller: HttpCaller) -> None:
    built_in = {"namespaceShowName": "public", "quota": 200, "configCount": 0, "type": 0}
    oldest = caller.ask("GET", V1).json
    assert (oldest["code"], oldest["message"]) == (200, None)
    assert oldest["data"][0] == {**built_in, "namespace": "", "namespaceDesc": None}
    assert caller.ask("GET", f"{V2}/list").json["data"][0]["namespace"] == ""
    newest = caller.ask("GET", f"{V3}/list").json["data"][0]
    assert newest == {**built_in, "namespace": "public", "namespaceDesc": "Default Namespace"}
    assert caller.say("GET", V2, namespaceId="").json["data"]["namespaceShowName"] == "public"


def test_the_first_version_creates_changes_and_removes(caller: HttpCaller) -> None:
    about = {"customNamespaceId": "first", "namespaceName": "one", "namespaceDesc": "of the shop"}
    assert caller.form("POST", V1, **about).text == "true"
    assert caller.form("POST", V1, **about).text == "false", "there is one already"
    assert caller.form("POST", V1, customNamespaceId="no good", namespaceName="x").text == "false"
    assert caller.form("POST", V1, namespaceDesc="nameless").text == "Param 'namespaceName' is required."
    assert caller.say("GET", V1, checkNamespaceIdExist="true", customNamespaceId="first").text == "true"
    assert caller.say("GET", V1, checkNamespaceIdExist="true", customNamespaceId="none").text == "false"
    changed = {"namespace": "first", "namespaceShowName": "two"}
    assert caller.say("PUT", V1, **changed).text == "true"
    assert caller.say("PUT", V1, **{**changed, "namespace": "none"}).text == "false"
    one = caller.say("GET", V1, show="all", namespaceId="first").json
    assert (one["namespace"], one["namespaceShowName"], one["namespaceDesc"]) == ("first", "two", None)
    assert (one["quota"], one["configCount"], one["type"]) == (200, 0, 2)
    assert caller.say("DELETE", V1, namespaceId="first").text == "true"
    assert caller.say("DELETE", V1, namespaceId="first").text == "true", "done too where there is none"
    absent = caller.say("GET", V1, show="all", namespaceId="first")
    assert (absent.status, absent.text) == (404, "namespaceId [ first ] not exist")


@pytest.mark.parametrize(
    ("place", "id_name"), [(V2, "namespaceId"), (V3, "namespaceId"), (CONSOLE, "customNamespaceId")]
)
def test_later_versions_create_change_and_remove(caller: HttpCaller, place: str, id_name: str) -> None:
    namespace_id = f"in{place.replace('/', '-')}"
    new = {id_name: namespace_id, "namespaceName": "one", "namespaceDesc": "of the shop"}
    assert caller.form("POST", place, **new).json == {"code": 0, "message": "success", "data": True}
    again = caller.form("POST", place, **new)
    assert (again.status, again.json["code"], again.json["message"]) == (400, 22_002, "namespace already exist")
    found = caller.say("GET", place, namespaceId=namespace_id).json["data"]
    assert (found["namespaceShowName"], found["namespaceDesc"]) == ("one", "of the shop")
    assert caller.form("PUT", place, namespaceId=namespace_id, namespaceName="two").json["data"] is True
    assert shown(caller, namespace_id)["namespaceShowName"] == "two"
    assert caller.say("DELETE", place, namespaceId=namespace_id).json["data"] is True
    assert shown(caller, namespace_id) is None
    for absent in (
        caller.say("GET", place, namespaceId=namespace_id),
        caller.form("PUT", place, namespaceId=namespace_id, namespaceName="x"),
    ):
        assert (absent.status, absent.json["code"]) == (404, 22_001)
        assert absent.json["data"] == f"namespaceId [ {namespace_id} ] not exist"


def test_what_is_no_namespace_has_a_code_of_its_own(caller: HttpCaller) -> None:
    for about in (
        {"namespaceId": "no good", "namespaceName": "x"},
        {"namespaceId": "x" * 200, "namespaceName": "x"},
        {"namespaceId": "fine", "namespaceName": "a@b"},
        {"namespaceId": "public", "namespaceName": "mine"},
    ):
        answer = caller.form("POST", V3, **about)
        assert (answer.status, answer.json["code"], answer.json["message"]) == (400, 22_000, "illegal namespace")
    assert caller.say("DELETE", V3, namespaceId="public").json["code"] == 22_000
    assert caller.say("DELETE", V3, namespaceId="no good").json["code"] == 22_000
    assert caller.form("POST", V3, namespaceId="nameless").json["code"] == 10_000


def test_without_an_id_it_gets_one(caller: HttpCaller) -> None:
    assert caller.form("POST", V2, namespaceName="unnamed").json["data"] is True
    (made,) = [one for one in caller.ask("GET", f"{V2}/list").json["data"] if one["namespaceShowName"] == "unnamed"]
    assert len(made["namespace"]) == 36


def test_whether_there_is_one(caller: HttpCaller) -> None:
    assert caller.say("GET", f"{V3}/check", namespaceId="public").json["data"] == 1
    assert caller.say("GET", f"{V3}/check", namespaceId="nowhere").json["data"] == 0
    assert caller.say("GET", f"{CONSOLE}/exist", customNamespaceId="nowhere").json["data"] is False


def test_one_with_services_stays(caller: HttpCaller) -> None:
    caller.form("POST", V3, namespaceId="lived-in", namespaceName="x")
    about = {"namespaceId": "lived-in", "serviceName": "s", "ip": "10.0.0.1", "port": 80}
    assert caller.say("POST", "/v1/ns/instance", **about).text == "ok"
    refused = caller.say("DELETE", V3, namespaceId="lived-in")
    assert (refused.status, refused.json["code"]) == (409, 20_005)
    assert caller.say("DELETE", V1, namespaceId="lived-in").status == 409
    caller.say("DELETE", "/v1/ns/instance", **about)
    assert caller.say("DELETE", V3, namespaceId="lived-in").json["data"] is True
