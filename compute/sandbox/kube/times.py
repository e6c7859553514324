"""Times as the API writes them."""

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """UTC to the second: `2030-01-31T10:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_micro(moment: datetime) -> str:
    """A MicroTime of the API."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
