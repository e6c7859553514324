"""The faults of one object, as the real server lists them."""

import json
from dataclasses import dataclass, field
from typing import Any

from compute.sandbox.kube.errors import ApiError

Json = dict[str, Any]
REASONS = {
    "Invalid value": "FieldValueInvalid",
    "Required value": "FieldValueRequired",
    "Duplicate value": "FieldValueDuplicate",
    "Unsupported value": "FieldValueNotSupported",
    "Forbidden": "FieldValueForbidden",
    "Not found": "FieldValueNotFound",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
}


class GoText(str):
    """A value whose printed form is known: it is not quoted again."""

    __slots__ = ()


@dataclass
class Causes:
    """Collects faults; each has a field path, a reason and the words."""

    rows: list[Json] = field(default_factory=list)

    def _add(self, path: str, kind: str, text: str) -> None:
        row = {"reason": REASONS[kind], "message": f"{kind}{text}", "field": path}
        if row not in self.rows:
            self.rows.append(row)

    def has(self, path: str) -> bool:
        """Whether a fault is known at the path or above or below it."""
        return any(row["field"].startswith(path) or path.startswith(row["field"] + ".") for row in self.rows)

    def invalid(self, path: str, value: Any, why: str) -> None:
        """A value that is not allowed."""
        self._add(path, "Invalid value", f": {shown(value)}: {why}")

    def required(self, path: str, why: str = "") -> None:
        """A value that is missing."""
        self._add(path, "Required value", f": {why}" if why else "")

    def duplicate(self, path: str, value: Any) -> None:
        """A value that another item has."""
        self._add(path, "Duplicate value", f": {shown(value)}")

    def unsupported(self, path: str, value: Any, known: tuple[str, ...]) -> None:
        """A word outside a fixed list."""
        listed = ", ".join(f'"{item}"' for item in sorted(known))
        self._add(path, "Unsupported value", f": {shown(value)}: supported values: {listed}")

    def forbidden(self, path: str, why: str) -> None:
        """A field that may not be given, or not changed."""
        self._add(path, "Forbidden", f": {why}")

    def not_found(self, path: str, value: Any) -> None:
        """A name that nothing has."""
        self._add(path, "Not found", f": {shown(value)}")

    def too_long(self, path: str, most: int) -> None:
        """More bytes than allowed."""
        self._add(path, "Too long", f": may not be more than {most} bytes")


def shown(value: Any) -> str:
    """A value as messages print it."""
    if isinstance(value, GoText):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int | float) else json.dumps(value, separators=(",", ":"))


def go_strings(value: dict[str, str] | None) -> GoText:
    """A string map as Go prints it."""
    inner = ", ".join(f'"{key}":"{item}"' for key, item in sorted((value or {}).items()))
    return GoText(f"map[string]string{{{inner}}}" if value else "map[string]string(nil)")


def go_selector(value: Json | None) -> GoText:
    """A label selector as Go prints it."""
    labels = (value or {}).get("matchLabels")
    rows = (value or {}).get("matchExpressions")
    terms = "[]v1.LabelSelectorRequirement(nil)"
    if rows:
        items = ", ".join(
            f'v1.LabelSelectorRequirement{{Key:"{row["key"]}", Operator:"{row["operator"]}", '
            f"Values:{_go_list(row.get('values'))}}}"
            for row in rows
        )
        terms = f"[]v1.LabelSelectorRequirement{{{items}}}"
    return GoText(f"v1.LabelSelector{{MatchLabels:{go_strings(labels)}, MatchExpressions:{terms}}}")


def _go_list(values: list[str] | None) -> str:
    return "[]string{" + ", ".join(f'"{item}"' for item in values) + "}" if values else "[]string(nil)"


def go_int_or_string(value: int | str) -> GoText:
    """An IntOrString as Go prints it."""
    if isinstance(value, int):
        return GoText(f'intstr.IntOrString{{Type:0, IntVal:{value}, StrVal:""}}')
    return GoText(f'intstr.IntOrString{{Type:1, IntVal:0, StrVal:"{value}"}}')


def refuse(causes: Causes, kind: str, group: str, name: str) -> None:
    """Raise 422 Invalid when there are faults."""
    if not causes.rows:
        return
    texts = [f"{row['field']}: {row['message']}" for row in causes.rows]
    body = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    details: Json = {"name": name, "group": group, "kind": kind, "causes": causes.rows}
    details = {key: value for key, value in details.items() if value}
    raise ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {body}', details)
