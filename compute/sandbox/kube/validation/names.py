"""Names, labels, ports: the small rules that everything uses, with the real server's sentences."""

import re
from typing import Any

from compute.sandbox.kube.validation.causes import Causes

Json = dict[str, Any]
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_KEY = "[-._a-zA-Z0-9]+"
_PORT_NAME = "^[-a-z0-9]+$"
ENDS = "must start and end with an alphanumeric character"
USED = "regex used for validation is"

LABEL_TEXT = (
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and {ENDS} "
    f"(e.g. 'my-name',  or '123-abc', {USED} '{_LABEL}')"
)
SUBDOMAIN_TEXT = (
    f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and {ENDS} "
    f"(e.g. 'example.com', {USED} '{_SUBDOMAIN}')"
)
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', {USED} '{_LABEL_1035}')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    f"{ENDS} (e.g. 'MyValue',  or 'my_value',  or '12345', {USED} '{_VALUE}')"
)
QUALIFIED_TEXT = (
    f"name part must consist of alphanumeric characters, '-', '_' or '.', and {ENDS} "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', {USED} '{_QUALIFIED}')"
)
KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    f"(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', {USED} '{_KEY}')"
)


def _longer(value: str, most: int) -> list[str]:
    return [f"must be no more than {most} bytes"] if len(value.encode()) > most else []


def label_faults(value: str) -> list[str]:
    """Faults of an RFC 1123 label."""
    return _longer(value, 63) + ([] if re.fullmatch(_LABEL, value) else [LABEL_TEXT])


def subdomain_faults(value: str) -> list[str]:
    """Faults of an RFC 1123 subdomain."""
    return _longer(value, 253) + ([] if re.fullmatch(_SUBDOMAIN, value) else [SUBDOMAIN_TEXT])


def label_1035_faults(value: str) -> list[str]:
    """Faults of an RFC 1035 label (Services)."""
    return _longer(value, 63) + ([] if re.fullmatch(_LABEL_1035, value) else [LABEL_1035_TEXT])


def value_faults(value: str) -> list[str]:
    """Faults of a label's value."""
    return _longer(value, 63) + ([] if re.fullmatch(_VALUE, value) else [VALUE_TEXT])


def qualified_faults(value: str) -> list[str]:
    """Faults of a label's or annotation's key."""
    prefix, slash, name = value.rpartition("/")
    if value.count("/") > 1:
        return [f"a qualified name {QUALIFIED_TEXT.removeprefix('name part ')} with an optional DNS subdomain prefix"]
    faults = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {text}" for text in subdomain_faults(prefix)]
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > 63:
        faults.append("name part must be no more than 63 bytes")
    return faults + ([] if re.fullmatch(_QUALIFIED, name) else [QUALIFIED_TEXT])


def key_faults(value: str) -> list[str]:
    """Faults of a key of a ConfigMap or Secret."""
    faults = _longer(value, 253)
    if not re.fullmatch(_KEY, value):
        faults.append(KEY_TEXT)
    if value in (".", ".."):
        faults.append(f"must not be '{value}'")
    return faults


def env_faults(value: str) -> list[str]:
    """Faults of a variable's name."""
    if value and all(" " <= char <= "~" and char != "=" for char in value):
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def port_name_faults(value: str) -> list[str]:
    """Faults of a container port's name."""
    faults = ["must be no more than 15 characters"] if len(value) > 15 else []
    if not re.match(_PORT_NAME, value):
        faults.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        faults.append("must contain at least one letter (a-z)")
    if "--" in value:
        faults.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        faults.append("must not begin or end with a hyphen")
    return faults


def port(causes: Causes, path: str, value: Any) -> None:
    """A port number."""
    if not isinstance(value, int) or not 1 <= value <= 65535:
        causes.invalid(path, value, "must be between 1 and 65535, inclusive")


def port_or_name(causes: Causes, path: str, value: Any) -> None:
    """A port number or the name of one."""
    if isinstance(value, int):
        port(causes, path, value)
    else:
        for text in port_name_faults(str(value)):
            causes.invalid(path, value, text)


def at_least(causes: Causes, path: str, value: Any, least: int = 0) -> None:
    """A number that may not be below `least`; unset is fine."""
    if value is not None and value < least:
        causes.invalid(
            path, value, f"must be greater than or equal to {least}" if least == 0 else "must be greater than 0"
        )


def labels(causes: Causes, path: str, value: dict[str, str] | None) -> None:
    """A map of labels."""
    for key, item in sorted((value or {}).items()):
        for text in qualified_faults(key):
            causes.invalid(path, key, text)
        for text in value_faults(item):
            causes.invalid(path, item, text)


def selector(causes: Causes, path: str, value: Json | None) -> None:
    """A label selector."""
    labels(causes, f"{path}.matchLabels", (value or {}).get("matchLabels"))
    for index, row in enumerate((value or {}).get("matchExpressions", [])):
        here, operator = f"{path}.matchExpressions[{index}]", row.get("operator")
        listed = bool(row.get("values"))
        if operator in ("In", "NotIn") and not listed:
            causes.required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and listed:
            causes.forbidden(f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            causes.invalid(f"{here}.operator", operator or "", "not a valid selector operator")
        for text in qualified_faults(row.get("key", "")):
            causes.invalid(f"{here}.key", row.get("key", ""), text)
