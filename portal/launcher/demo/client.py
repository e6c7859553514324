"""A small client of the REST API: standard library only, proxies off."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

from portal.launcher.errors import Stop

OPERATION_SECONDS = 900
PATIENCE_SECONDS = 60


class Refused(Stop):
    """The portal said no; the sentence is the portal's."""


class Api:
    """The REST API of one workspace."""

    def __init__(self, credentials: dict[str, Any], say: Callable[[str], None] = print) -> None:
        self.root = credentials["http_url"]
        self.home = f"/api/v1/workspaces/{credentials['workspace']}/"
        self._token = credentials["api_token"]
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._say = say

    def call(self, method: str, path: str, body: Any = None, *, raw: tuple[str, bytes] | None = None) -> Any:
        """One call; `path` is below the workspace, or absolute. Goes on trying while the portal is away (60 s).

        A change carries an idempotency key, so that trying again never does it twice. Raises Refused.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        kind, data = raw or ("application/json", json.dumps(body).encode() if body is not None else b"")
        if data:
            headers["Content-Type"] = kind
        url = self.root + (path if path.startswith("/") else self.home + path)
        request = urllib.request.Request(url, data=data or None, headers=headers, method=method)  # noqa: S310  (our own URL)
        return self._patiently(request)

    def _patiently(self, request: urllib.request.Request) -> Any:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._opener.open(request, timeout=60) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                raise Refused(_sentence(error)) from None
            except OSError as error:
                if time.monotonic() > until:
                    raise Stop(f"the portal at {self.root} does not answer ({error}).") from None
                time.sleep(0.5)

    def get(self, path: str) -> Any:
        """GET."""
        return self.call("GET", path)

    def find(self, path: str) -> Any:
        """GET; None when there is no such thing."""
        try:
            return self.get(path)
        except Refused as refusal:
            if str(refusal).startswith("404"):
                return None
            raise

    def upload(self, path: str, fields: dict[str, str], file: tuple[str, bytes]) -> Any:
        """POST of a form with one file."""
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{file[0]}"\r\n'
        parts += [
            head.encode() + b"Content-Type: application/octet-stream\r\n\r\n",
            file[1],
            f"\r\n--{mark}--\r\n".encode(),
        ]
        return self.call("POST", path, raw=(f"multipart/form-data; boundary={mark}", b"".join(parts)))

    def do(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A change that takes long, followed to its end. Raises Stop with the operation's own reason."""
        accepted = self.call(method, path, body)
        return self.follow(accepted["url"]) if accepted and "url" in accepted else accepted

    def follow(self, url: str) -> dict[str, Any]:
        """Wait for an operation, telling each new note. Raises Stop when it does not end well."""
        until, told = time.monotonic() + OPERATION_SECONDS, ""
        while time.monotonic() < until:
            operation: dict[str, Any] = self.get(url)
            if operation["state"] == "Succeeded":
                return operation
            if operation["state"] not in ("NotStarted", "Running"):
                raise Stop(
                    f"{operation['kind']} of {operation['target']} ended {operation['state']}: {_reason(operation)}"
                )
            if operation["note"] and operation["note"] != told:
                told = operation["note"]
                self._say(f"    {told}")
            time.sleep(0.5)
        raise Stop(f"{url} did not end within {OPERATION_SECONDS} s.")


def _reason(operation: dict[str, Any]) -> str:
    error = operation.get("error") or {}
    words = [str(error.get(name)) for name in ("detail", "fix", "evidence") if error.get(name)]
    return "\n".join(words) or operation["note"] or "no reason given"


def _sentence(error: urllib.error.HTTPError) -> str:
    body = error.read()
    try:
        problem = json.loads(body)
        return f"{error.code} {problem.get('title', error.reason)}: {problem.get('detail', '')}"
    except (ValueError, AttributeError):
        return f"{error.code} {error.reason}"
