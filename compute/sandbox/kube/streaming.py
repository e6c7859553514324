"""Long answers end when their client has gone; the server itself only notices at the next write."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

LOOK_SECONDS = 1.0


def is_gone(request: web.Request) -> bool:
    """Whether the client has closed the connection."""
    return request.transport is None or request.transport.is_closing()


async def while_connected(request: web.Request, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What `source` gives, until it ends or the client has gone; `source` is closed then."""
    waiting: asyncio.Task[Any] | None = None
    try:
        while not is_gone(request):
            waiting = waiting or asyncio.ensure_future(_next(source))
            done, _ = await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
            if not done:
                continue
            chunk, waiting = waiting.result(), None
            if chunk is None:
                return
            yield chunk
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)
