"""The OpenAPI document, out of the tables of routes and what is said of each (operations.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, get_origin

import msgspec

from runtime.gateway.api import clients, instances, servers, services
from runtime.gateway.api.operations import ApiOperation
from runtime.gateway.api.parameters import HEADERS, PARAMETERS, Parameter
from runtime.gateway.http_calls import FORM
from runtime.gateway.http_routes import CONTEXT_PATH, AnswerStyle, HttpRoute

OPERATIONS = (*instances.OPERATIONS, *services.OPERATIONS, *clients.OPERATIONS, *servers.OPERATIONS)
API_VERSION = "1"  # of this description; 1, 2 and 3 in its paths are the original's
_ABOUT = (
    "Parameters stand in the query, or likewise in a form (`application/x-www-form-urlencoded`); the query wins, and "
    "what is blank was not said. A flag is true if it says true, on, yes, y or t. Any other method of a path gets 405, "
    "any other path 404; both get 501 below `/v1/ns`."
)
_WITH_FORM = ("POST", "PUT", "PATCH")
_REFERENCE = "#/components/schemas/{name}"
_TEXT, _JSON = "text/plain", "application/json"

Tree = dict[str, Any]
Place = tuple[str, str]  # a method and a path


class RefusedShape(msgspec.Struct, frozen=True):
    """``data`` says what was wrong."""

    code: int
    message: str
    data: str


class Described(NamedTuple):
    route: HttpRoute
    operation: ApiOperation


def described(tables: Iterable[Iterable[HttpRoute]], operations: Iterable[ApiOperation]) -> dict[Place, Described]:
    """Every route with what is said of it. KeyError names a route of which nothing is said."""
    said: dict[Place, ApiOperation] = {}
    for operation in operations:
        for path in operation.paths.split():
            for method in operation.methods.split():
                assert (method, path) not in said, f"said twice: {method} {path}"
                said[method, path] = operation
    routes = ((place, route) for table in tables for route in table for place in _places(route))
    return {place: Described(route, said[place]) for place, route in routes}


def document(places: dict[Place, Described]) -> Tree:
    types = [operation.answer for _, operation in places.values()]
    kinds = [parameter.kind for parameter in (*PARAMETERS.values(), *HEADERS.values())]
    schemas, components = msgspec.json.schema_components(
        [*types, *kinds, RefusedShape], schema_hook=_of_anything, ref_template=_REFERENCE
    )
    for component in components.values():
        component.pop("description", None)  # the docstring of a class, for those who read the class
    answers = dict(zip(places, schemas, strict=False))
    kind_of = dict(zip((*PARAMETERS, *HEADERS), schemas[len(types) :], strict=False))
    paths: dict[str, Tree] = {}
    for (method, path), each in sorted(places.items(), key=lambda item: (item[0][1], item[0][0])):
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, each, answers[method, path], kind_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rollbook", "version": API_VERSION, "description": _ABOUT},
        "servers": [{"url": CONTEXT_PATH}],
        "paths": paths,
        "components": {
            "parameters": dict(_parameters(kind_of)),
            "responses": dict(_responses(operation for _, operation in places.values())),
            "schemas": components,
        },
    }


def written(made: Tree, levels: int = 3) -> bytes:
    """JSON with a line for each call and each component, so that two versions of it can be compared."""
    if not levels or not isinstance(made, dict):
        return msgspec.json.encode(made)
    lines = [msgspec.json.encode(name) + b":" + written(part, levels - 1) for name, part in made.items()]
    return b"{\n" + b",\n".join(lines) + b"\n}"


def _of_anything(kind: type) -> Tree:
    if kind is not object:
        raise NotImplementedError
    return {"description": "Of any type."}


def _places(route: HttpRoute) -> list[Place]:
    return [(method, route.path) for method in route.methods.split()]


def _parameters(kind_of: dict[str, Tree]) -> Iterator[tuple[str, Tree]]:
    for name, parameter in PARAMETERS.items():
        yield name, _parameter("query", name, parameter, kind_of[name])
    for name, parameter in HEADERS.items():
        yield name, _parameter("header", name, parameter, kind_of[name])


def _parameter(place: str, name: str, parameter: Parameter, kind: Tree) -> Tree:
    return {"name": name, "in": place, "description": parameter.about, "schema": kind, "example": parameter.example}


def _operation(method: str, path: str, each: Described, answer: Tree, kind_of: dict[str, Tree]) -> Tree:
    route, operation = each
    needed = operation.needs.split()
    named = [*needed, *operation.takes.split()]
    shown: Tree = {
        "operationId": "_".join([method.lower(), *path.replace("{", "").replace("}", "").strip("/").split("/")]),
        "summary": operation.about,
        "tags": [path.split("/")[1]],
    }
    if named:
        shown["parameters"] = [_named(path, name, name in needed, kind_of) for name in named]
    if named and method in _WITH_FORM:
        fields = {name: kind_of[name] for name in named if name in PARAMETERS and f"{{{name}}}" not in path}
        if fields:
            shown["requestBody"] = {"content": {FORM: {"schema": {"type": "object", "properties": fields}}}}
    shown["responses"] = {"200": _success(route.style, operation, answer), **dict(_refusals(route.style, operation))}
    return shown


def _named(path: str, name: str, is_needed: bool, kind_of: dict[str, Tree]) -> Tree:
    if f"{{{name}}}" in path:
        return {**_parameter("path", name, PARAMETERS[name], kind_of[name]), "required": True}
    if not is_needed:
        return {"$ref": f"#/components/parameters/{name}"}
    return {**_parameter("query", name, PARAMETERS[name], kind_of[name]), "required": True}


def _success(style: AnswerStyle, operation: ApiOperation, answer: Tree) -> Tree:
    if operation.answer is None:
        return {"description": "Nothing."}
    if style is AnswerStyle.RESULT:
        fields = {"code": {"type": "integer"}, "message": {"type": "string"}, "data": answer}
        envelope = {"type": "object", "properties": fields, "required": list(fields)}
        return {"description": "In an envelope.", "content": {_JSON: {"schema": envelope}}}
    is_text = operation.answer is str or get_origin(operation.answer) is Literal
    return {"description": "As it is.", "content": {_TEXT if is_text else _JSON: {"schema": answer}}}


def _refusals(style: AnswerStyle, operation: ApiOperation) -> Iterator[tuple[str, Tree]]:
    kind = "Words" if style is AnswerStyle.WORDS else "Envelope"
    for status in operation.statuses():
        yield str(status), {"$ref": f"#/components/responses/{kind}{status}"}


def _responses(operations: Iterable[ApiOperation]) -> Iterator[tuple[str, Tree]]:
    """What refusals refer to."""
    in_words: Tree = {_TEXT: {"schema": {"type": "string"}}}
    in_envelope: Tree = {_JSON: {"schema": {"$ref": _REFERENCE.format(name=RefusedShape.__name__)}}}
    for status in sorted({status for operation in operations for status in operation.statuses()}):
        phrase = HTTPStatus(status).phrase
        yield f"Words{status}", {"description": phrase, "content": in_words}
        yield f"Envelope{status}", {"description": phrase, "content": in_envelope}
