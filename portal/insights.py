"""A workspace's connection to Application Insights: checked on entry, shown without its key. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from portal.credentials import GUID
from portal.problems import Invalid

KEY, PLACE, LIVE = "InstrumentationKey", "IngestionEndpoint", "LiveEndpoint"
DROPPED = ("ApplicationId", "EndpointSuffix", "Location", "AADAudience", "ProfilerEndpoint", "SnapshotEndpoint")
KNOWN = {name.lower(): name for name in (KEY, PLACE, LIVE, *DROPPED)}
LONGEST = 1000
SHOWN = 4  # characters of the key, to recognise it by
EXAMPLE = f"{KEY}=11111111-2222-3333-4444-555555555555;{PLACE}=https://westeurope-5.in.applicationinsights.azure.com/"


class InvalidConnection(Invalid):
    code, title = "invalid_app_insights", "This Application Insights connection cannot be right"


def checked(given: str) -> str:
    """The connection string as replicas take it: key and endpoints only. Raises InvalidConnection, quoting no key."""
    if len(given) > LONGEST:
        raise InvalidConnection(f"The connection string has {len(given)} characters; {LONGEST} are the most.")
    parts = _parts(given)
    for name in (KEY, PLACE):
        if not parts.get(name):
            raise InvalidConnection(f"The connection string has no {name}. Copy it whole, like {EXAMPLE}.")
    if not GUID.fullmatch(parts[KEY]):
        raise InvalidConnection(f"{KEY} is no GUID. Copy the connection string whole, like {EXAMPLE}.")
    ends = {name: _https(name, parts[name]) for name in (PLACE, LIVE) if parts.get(name)}
    return ";".join(f"{name}={value}" for name, value in {KEY: parts[KEY].lower(), **ends}.items())


def _parts(given: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in given.split(";"))):
        name, equals, value = part.partition("=")
        known = KNOWN.get(name.strip().lower())
        if not equals or known is None:
            raise InvalidConnection(
                f"The connection string has a part that is none of {', '.join(KNOWN.values())}. Copy it whole, "
                f"like {EXAMPLE}."
            )
        if known in found:
            raise InvalidConnection(f"The connection string has {known} twice.")
        found[known] = value.strip()
    return found


def _https(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidConnection(f"{name} is no address.") from None
    plain = not (parts.username or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme != "https" or not parts.hostname or not plain or any(sign in url for sign in "=, \t\r\n"):
        raise InvalidConnection(f"{name} must be https with a host and nothing behind it.")
    return f"https://{parts.hostname}{f':{port}' if port else ''}/"


def key_of(connection: str) -> str:
    """The instrumentation key of a stored connection; empty for none."""
    return _parts(connection).get(KEY, "")


def places(connection: str) -> list[str]:
    """The addresses that a stored connection names."""
    parts = _parts(connection)
    return [parts[name] for name in (PLACE, LIVE) if parts.get(name)]


def described(connection: str) -> dict[str, Any] | None:
    """What may be shown of a stored connection: how its key ends, and where telemetry goes."""
    if not connection:
        return None
    parts = _parts(connection)
    return {"key": f"…{parts[KEY][-SHOWN:]}", "endpoint": parts[PLACE]}
