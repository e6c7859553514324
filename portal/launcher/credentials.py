"""credentials.json: what a person or a script needs to use the portal of a home."""

from __future__ import annotations

import json
from typing import Any

from portal.launcher.home import Home, read_json, write_private

FILE = "credentials.json"


def read(home: Home) -> dict[str, Any]:
    """The stored credentials; empty when there are none yet."""
    return dict(read_json(home.file(FILE)) or {})


def write(home: Home, values: dict[str, Any]) -> None:
    """Replace the file; only its owner can read it."""
    write_private(home.file(FILE), json.dumps(values, indent=1) + "\n")
