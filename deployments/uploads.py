"""Multipart uploads straight to disk: memory stays small, and what is cut off is refused whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from rest_framework.parsers import BaseParser, DataAndFiles

from portal.bodies import CutOff, cut_off
from portal.problems import InvalidShape


class _Tail:
    """The request's stream, remembering how many bytes came and the last of them."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.count, self.tail = stream, 0, b""

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self.count += len(data)
        self.tail = (self.tail + data[-300:])[-300:]
        return data


class StreamedMultiPart(BaseParser):
    """Parses multipart/form-data; every file goes to a temporary file that vanishes with the request."""

    media_type = "multipart/form-data"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        """Members and files. Raises CutOff when the end of the body is missing."""
        request = (parser_context or {})["request"]
        meta = {**request.META, "CONTENT_TYPE": media_type or request.META.get("CONTENT_TYPE", "")}
        counted = _Tail(stream)
        handler = TemporaryFileUploadHandler(request)
        try:
            parser = MultiPartParser(meta, cast(Any, counted), [handler], settings.DEFAULT_CHARSET)
            data, files = parser.parse()
        except (MultiPartParserError, UnreadablePostError) as error:
            handler.upload_interrupted()
            if isinstance(error, UnreadablePostError):
                raise CutOff(str(error)) from None
            raise InvalidShape(f"The upload cannot be read: {error}.") from None
        if not _is_whole(meta, counted):
            for _, found in files.lists():
                for file in found:
                    file.close()
            raise CutOff(cut_off(counted.count, str(meta.get("CONTENT_LENGTH") or "")))
        return DataAndFiles(data, files)


def _is_whole(meta: Mapping[str, Any], counted: _Tail) -> bool:
    announced = str(meta.get("CONTENT_LENGTH") or "")
    is_short = announced.isdigit() and counted.count < int(announced)
    return not is_short and counted.tail.rstrip(b"\r\n").endswith(b"--")
