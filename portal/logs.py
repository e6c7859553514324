"""JSON log lines for our own code and for libraries, with the request's or operation's id."""

from __future__ import annotations

from typing import Any

import structlog


def _without_query(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Signed URLs are secrets: a request is logged without its query."""
    if isinstance(event.get("request"), str):
        event["request"] = event["request"].partition("?")[0]
    return event


FOREIGN: list[Any] = [
    _without_query,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso"),
]
PROCESSORS: list[Any] = [
    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
]


def configure() -> None:
    """Route structlog through the standard logging set-up of the settings."""
    structlog.configure(
        processors=[*FOREIGN, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
