"""What can be refused before anything runs: entry scripts, requirements, conda files. Parses, never imports. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from portal.problems import Invalid

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LINE_OPTIONS = re.compile(r"(--hash=|\s#).*$")
IMAGE = re.compile(
    r"[a-z0-9]+([._-][a-z0-9]+)*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


class InvalidScript(Invalid):
    code, title = "invalid_entry_script", "The entry script cannot run"


class InvalidRequirements(Invalid):
    code, title = "invalid_requirements", "The environment's packages are not written right"


def entry_script(name: str, source: bytes) -> None:
    """An entry script parses and defines init() and run(…). Raises InvalidScript with the line that is wrong."""
    try:
        tree = ast.parse(source, filename=name)
    except SyntaxError as error:
        raise InvalidScript(f"{name} does not parse: line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidScript(f"{name} does not parse: {error}.") from None
    missing = [word for word in ("init", "run") if word not in _defined(tree)]
    if missing:
        words = " and ".join(f"{word}()" for word in missing)
        raise InvalidScript(f"{name} defines no {words}: an entry script needs init() and run(data).")


def _defined(tree: ast.Module) -> set[str]:
    """Names that the module's top level binds: functions, assignments, imports; also inside if and try."""
    names: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


def _top_level(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for inner in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, inner, []))


def requirements(lines: Iterable[Any]) -> list[str]:
    """pip requirements, one a line, cleaned. Options and paths are refused: a build reads the package index only."""
    found = []
    for number, raw in enumerate(lines, 1):
        if not isinstance(raw, str):
            raise InvalidRequirements(f"Requirement {number} is {raw!r}: give a text such as scikit-learn==1.7.2.")
        line = LINE_OPTIONS.sub("", raw).strip()
        if line and not line.startswith("#"):
            found.append(_requirement(number, line))
    return found


def _requirement(number: int, line: str) -> str:
    if line.startswith("-") or "\n" in line or "\r" in line:
        raise InvalidRequirements(
            f"Line {number}, {line!r}: pip's options are not taken, only packages such as scikit-learn==1.7.2."
        )
    try:
        Requirement(line)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise InvalidRequirements(
            f"Line {number}, {line!r}, is no requirement ({reason}). Write for example scikit-learn==1.7.2."
        ) from None
    return line


def conda(text: str) -> dict[str, Any]:
    """A conda file as a mapping; its packages and pip part are checked. Raises InvalidRequirements."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise InvalidRequirements(f"The conda file is no YAML{f' (line {where.line + 1})' if where else ''}.") from None
    parts = found.get("dependencies") if isinstance(found, dict) else None
    if not isinstance(parts, list) or not parts:
        raise InvalidRequirements("The conda file has no list of dependencies.")
    for part in parts:
        if isinstance(part, dict) and set(part) == {"pip"} and isinstance(part["pip"], list):
            requirements(part["pip"])
        elif not isinstance(part, str):
            raise InvalidRequirements(f"The conda file has {part!r}: give package names, or pip with a list.")
    return dict(found)


def python(version: Any) -> str:
    """A Python version that inference servers run on."""
    if version not in PYTHONS:
        raise InvalidRequirements(f"Python {version!r} is not offered: choose one of {', '.join(PYTHONS)}.")
    return str(version)


def image(name: Any) -> str:
    """The name of a container image."""
    if not isinstance(name, str) or len(name) > 500 or not IMAGE.fullmatch(name):
        raise InvalidRequirements(f"{name!r} is no image name: write for example registry.example.com/team/image:1.")
    return name
