"""What the house rules look at: the files of a tree, parsed once, and the questions they ask of them.

A rule is a function from all files to what it objects to. tests/support/import_rules.py and tests/support/code_rules.py
hold the rules, tests/test_tidy.py applies them to this tree and proves that each can fail.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOMS = ("rollbook", "actors", "runtime", "configs", "scripts", "tests", "benchmarks", "examples", "docs", ".ci")
CODE_ROOMS = frozenset({"rollbook", "actors", "runtime", "scripts", "tests", "benchmarks"})
TEXT_SUFFIXES = frozenset({".py", ".sh", ".md", ".toml", ".cfg", ".yml", ".yaml"})


class SourceFile(NamedTuple):
    """One text file; only Python files have a syntax tree."""

    path: PurePosixPath  # from the root of the tree, so parts[0] is the room
    text: str
    tree: ast.Module | None

    @property
    def room(self) -> str:
        return self.path.parts[0]

    def lies_in(self, *folders: str) -> bool:
        return any(self.path.is_relative_to(folder) for folder in folders)


class Import(NamedTuple):
    """One imported name. ``from a import b`` is ``a.b``: whether b is a module or not makes no difference to a rule."""

    name: str
    line: int
    is_lazy: bool  # inside a function

    def comes_from(self, *modules: str) -> bool:
        return any(self.name == module or self.name.startswith(f"{module}.") for module in modules)


class Objection(NamedTuple):
    """One line that breaks a rule, and what to do about it."""

    path: PurePosixPath
    line: int
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.advice}"


Tree = Sequence[SourceFile]
Rule = Callable[[Tree], Iterator[Objection]]


def parse(path: str | PurePosixPath, text: str) -> SourceFile:
    """A file at this place in the tree, from its text."""
    place = PurePosixPath(path)
    return SourceFile(place, text, ast.parse(text, str(place)) if place.suffix == ".py" else None)


def read_tree(root: Path) -> list[SourceFile]:
    """Every text file that people write: those at the root and those in the rooms."""
    found = [path for path in root.iterdir() if path.suffix in TEXT_SUFFIXES]
    for room in ROOMS:
        found += [
            path for path in (root / room).rglob("*") if path.suffix in TEXT_SUFFIXES or path.parent.name == ".ci"
        ]
    return [
        parse(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(found)
        if path.is_file() and "__pycache__" not in path.parts
    ]


def python_files(tree: Tree) -> Iterator[tuple[SourceFile, ast.Module]]:
    """The Python files of a tree, with their syntax trees."""
    for source in tree:
        if source.tree is not None:
            yield source, source.tree


def imports_of(source: SourceFile) -> Iterator[Import]:
    """Everything a file imports: at the top, for type checking only, lazily, or by ``import_module("name")``."""
    if source.tree is not None:
        yield from _imports_below(source.tree, source.path, is_lazy=False)


def _imports_below(node: ast.AST, path: PurePosixPath, *, is_lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (Import(alias.name, child.lineno, is_lazy) for alias in child.names)
            case ast.ImportFrom():
                base = _absolute(child, path)
                yield from (Import(f"{base}.{alias.name}", child.lineno, is_lazy) for alias in child.names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if called_name(child) in _IMPORTERS:
                yield Import(name, child.lineno, is_lazy)
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports_below(child, path, is_lazy=is_lazy or is_function)


_IMPORTERS = frozenset({"import_module", "__import__"})


def _absolute(node: ast.ImportFrom, path: PurePosixPath) -> str:
    if node.level == 0:
        return node.module or ""
    package = path.parts[: len(path.parts) - node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def called_name(call: ast.Call) -> str:
    """The last part of what is called: ``raises`` for both ``pytest.raises(...)`` and ``raises(...)``."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""
