"""A request's body arrives whole or is refused: what was cut off on its way never counts as what was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from portal.problems import InvalidShape

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class CutOff(InvalidShape):
    code, title = "upload_cut_off", "The request did not arrive whole"


def cut_off(count: int, announced: str) -> str:
    """The sentence for a body of which only `count` bytes came."""
    of = f" of {announced}" if announced.isdigit() else ""
    return f"The request was cut off after {count}{of} bytes. Nothing was kept: send it again."


class WholeBody:
    """A body's stream. Raises OSError when it ends before the length that was announced."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream, self._length, self._count = stream, length, 0

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, less only at the end."""
        left = self._length - self._count
        wanted = left if size < 0 else min(size, left)
        parts = []
        while wanted:
            data = self._took(self._stream.read(wanted))
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)

    def readline(self, size: int = -1) -> bytes:
        """The next line, at most `size` bytes of it."""
        left = self._length - self._count
        wanted = left if size < 0 else min(size, left)
        return self._took(self._stream.readline(wanted)) if wanted else b""

    def _took(self, data: bytes) -> bytes:
        if not data:
            raise OSError(cut_off(self._count, str(self._length)))
        self._count += len(data)
        return data


def whole(application: Application) -> Application:
    """The application with bodies that arrive whole: Django alone takes what came before the end for all of it."""

    def guarded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = str(environ.get("CONTENT_LENGTH") or "")
        if length.isdigit():
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(length))
        return application(environ, start_response)

    return guarded
