"""Resource quantities: `100m`, `1.5Gi`, as the real parser takes and refuses them."""

import re
from decimal import Decimal

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"
_WHOLE = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
_NUMBER = re.compile(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$")
_EXPONENT = re.compile(r"^[eE][-+]?[0-9]+$")
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


def parse(value: object) -> Decimal:
    """The number in base units (cores, bytes, …). `ValueError` with the real server's words."""
    match = _WHOLE.match(str(value))
    if match is None or not _NUMBER.match(match[1]):
        raise ValueError(FORMAT_WRONG)
    number, suffix = Decimal(match[1]), match[2]
    if suffix in _SCALE:
        return number * _SCALE[suffix]
    if _EXPONENT.match(suffix):
        return number * Decimal(10) ** int(suffix[1:])
    raise ValueError(SUFFIX_WRONG)


def show(number: Decimal, like: str) -> str:
    """A sum in the form of `like`: milli for cpu, binary suffix for memory, a plain number for counts."""
    if like.endswith("cpu"):
        return str(int(number)) if number == int(number) else f"{int(number * 1000)}m"
    if like.endswith(("memory", "storage")):
        for suffix in ("Gi", "Mi", "Ki"):
            if number and number % _SCALE[suffix] == 0:
                return f"{int(number / _SCALE[suffix])}{suffix}"
    return str(int(number))
