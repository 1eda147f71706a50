"""House rules about the code and prose within a file."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from tests.support.house import CODE_ROOMS, Objection, Rule, SourceFile, Tree, called_name, imports_of, python_files

FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# An open end that names its issue, as in NAME(#12), is a plan; a bare one is a wish.
_BARE_OPEN_END = re.compile(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))")
# Neither a path within a URL or a relative one: something must begin at the slash.
_MACHINE_PATH = re.compile(r"(?<![\w.~$}*>-])/(?:home|root|work|Users)/")

_VERDICTS = frozenset({"raises", "warns", "fail", "eventually"})
_VERDICT_PREFIXES = ("assert_", "check_", "expect_", "require_", "wait_", "until", "always")


def files_are_short(tree: Tree) -> Iterator[Objection]:
    """A file is one story that fits in a head."""
    for source in tree:
        lines = len(source.text.splitlines())
        if source.room in CODE_ROOMS and source.path.suffix in (".py", ".sh") and lines > FILE_LINES_MAX:
            yield Objection(source.path, lines, f"{lines} lines, at most {FILE_LINES_MAX}: split it by what it owns")


def functions_are_short(tree: Tree) -> Iterator[Objection]:
    """About ten lines is usual."""
    for source, module in python_files(tree):
        if source.room not in CODE_ROOMS:
            continue
        for function in _functions(module):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                advice = f"{function.name} has {lines} lines, at most {FUNCTION_LINES_MAX}: name its steps as functions"
                yield Objection(source.path, function.lineno, advice)


def errors_are_not_swallowed(tree: Tree) -> Iterator[Objection]:
    """Nothing goes wrong in silence."""
    for source, module in python_files(tree):
        for node in ast.walk(module):
            if isinstance(node, ast.ExceptHandler) and all(_does_nothing(statement) for statement in node.body):
                advice = (
                    "handle it, count it, or use contextlib.suppress with a comment that says why it may be ignored"
                )
                yield Objection(source.path, node.lineno, advice)


def open_ends_name_their_issue(tree: Tree) -> Iterator[Objection]:
    """A wish nobody can look up is never granted."""
    for source in tree:
        for line, prose in _prose(source):
            if found := _BARE_OPEN_END.search(prose):
                advice = f"bare {found.group(1)}: do it now, or name the issue, as in {found.group(1)}(#12)"
                yield Objection(source.path, line, advice)


def paths_are_not_of_one_machine(tree: Tree) -> Iterator[Objection]:
    """What is written here is read on other machines."""
    for source in tree:
        for line, prose in _prose(source):
            if found := _MACHINE_PATH.search(prose):
                advice = f"{found.group()}… exists on one machine only: write the path from the root of the checkout"
                yield Objection(source.path, line, advice)


def modules_have_docstrings(tree: Tree) -> Iterator[Objection]:
    """The first line says what the file is for."""
    for source, module in python_files(tree):
        if not ast.get_docstring(module):
            yield Objection(source.path, 1, "begin with a docstring that says what this module is for")


def class_names_are_unique(tree: Tree) -> Iterator[Objection]:
    """One name, one meaning, also in traces and logs."""
    first_seen: dict[str, str] = {}
    for source, module in python_files(tree):
        if source.room not in ("rollbook", "actors", "runtime"):
            continue
        for node in ast.walk(module):
            if not isinstance(node, ast.ClassDef):
                continue
            here = f"{source.path}:{node.lineno}"
            if (there := first_seen.setdefault(node.name, here)) != here:
                yield Objection(
                    source.path, node.lineno, f"class {node.name} is already in {there}: rename one of them"
                )


def no_test_sleeps(tree: Tree) -> Iterator[Objection]:
    """A test that sleeps is slow, and flaky on a slower machine."""
    advice = "no time.sleep in tests: use virtual time, or wait for the event with a deadline"
    for source, module in python_files(tree):
        if source.room != "tests":
            continue
        yield from (
            Objection(source.path, item.line, advice) for item in imports_of(source) if item.name == "time.sleep"
        )
        clocks = _names_of_time(module)
        for node in ast.walk(module):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr="sleep") if name in clocks:
                    yield Objection(source.path, node.lineno, advice)


def every_test_can_fail(tree: Tree) -> Iterator[Objection]:
    """A test without a verdict passes whatever the code does."""
    for source, module in python_files(tree):
        if source.room != "tests" or not source.path.name.startswith("test_"):
            continue
        for function in _functions(module):
            if function.name.startswith("test_") and not any(_is_verdict(node) for node in ast.walk(function)):
                advice = (
                    f"{function.name} cannot fail: assert something, or call a helper named check_, expect_, wait_ …"
                )
                yield Objection(source.path, function.lineno, advice)


def _functions(module: ast.Module) -> Iterator[_Function]:
    for node in ast.walk(module):
        if isinstance(node, _Function):
            yield node


def _does_nothing(statement: ast.stmt) -> bool:
    is_bare_value = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or is_bare_value


def _is_verdict(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.Raise():
            return True
        case ast.Call():
            name = called_name(node)
            return name in _VERDICTS or name.startswith(_VERDICT_PREFIXES)
    return False


def _names_of_time(module: ast.Module) -> set[str]:
    imports = [node for node in ast.walk(module) if isinstance(node, ast.Import)]
    return {alias.asname or alias.name for node in imports for alias in node.names if alias.name == "time"}


def _prose(source: SourceFile) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of Python, every line of anything else, with line numbers."""
    if source.tree is None:
        yield from enumerate(source.text.splitlines(), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(source.tree):
        if isinstance(node, _Documented) and (docstring := ast.get_docstring(node, clean=False)):
            yield from enumerate(docstring.splitlines(), start=node.body[0].lineno)


CODE_RULES: list[Rule] = [
    files_are_short,
    functions_are_short,
    errors_are_not_swallowed,
    open_ends_name_their_issue,
    paths_are_not_of_one_machine,
    modules_have_docstrings,
    class_names_are_unique,
    no_test_sleeps,
    every_test_can_fail,
]
