"""What a multipart request carries, as actions take it."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.request import Request

from deployments.actions.models import Upload
from portal.problems import InvalidShape

FILE_MEMBERS = ("files", "file")


def uploads(request: Request) -> list[Upload]:
    """The uploaded files in order; `paths`, when given, has one path for each."""
    files = [file for member in FILE_MEMBERS for file in request.FILES.getlist(member)]
    unknown = sorted(set(request.FILES) - set(FILE_MEMBERS))
    if unknown:
        raise InvalidShape(f"Unknown file members: {', '.join(unknown)}. Send files as 'files'.")
    data: Any = request.data
    paths = data.getlist("paths")
    if paths and len(paths) != len(files):
        raise InvalidShape(f"There are {len(files)} files and {len(paths)} paths: give one path for each file.")
    names = paths or [str(file.name) for file in files]
    return [Upload(str(name), file.file, int(file.size)) for name, file in zip(names, files, strict=True)]


def fields(request: Request) -> dict[str, Any]:
    """The other members of a multipart request, one value each, `paths` left out."""
    data: Any = request.data
    members = set(data) - set(request.FILES) - {"paths"}
    return {name: data.get(name) for name in sorted(members)}


def labels(text: Any, member: str) -> Any:
    """A JSON object that came as text; None when it is absent."""
    if text in (None, ""):
        return None
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        raise InvalidShape(f'{member} is no JSON: send for example {{"stage": "test"}}.') from None
