"""Brings a pod its code and models: trades the deployment's token for signed URLs, downloads, checks, unpacks.

Runs as init container with plain Python 3.9 or later, in the folder that holds program/, token/ and app/. It may run
again over what an earlier run left. The last line it prints says what went wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
from typing import Any

TRIES, SECONDS, CHUNK = 5, 30, 1 << 20


class Failed(Exception):
    """A sentence for the pod's log."""


def opener() -> urllib.request.OpenerDirector:
    """Goes straight to the portal: no proxy from the environment; with the portal's own CA when there is one."""
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    authority = "program/ca.crt"
    if os.path.exists(authority) and os.path.getsize(authority):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)))
    return urllib.request.build_opener(*handlers)


def call(url: str, headers: dict[str, str]) -> Any:
    """Open a URL; tries again when the portal is away for a moment. Never prints the URL: its query is a secret."""
    where = url.partition("?")[0]
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the portal gave it)
            return opener().open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise Failed(f"The portal answered {error.code} at {where}.") from None
            trouble = f"status {error.code}"
        except OSError as error:
            trouble = str(getattr(error, "reason", error))
        if attempt + 1 < TRIES:
            time.sleep(2**attempt)
    raise Failed(f"The portal cannot be reached at {where}: {trouble}.")


def inside(root: str, path: str) -> str:
    """The absolute path below root. Raises Failed when it would lead outside."""
    top = os.path.realpath(root)
    full = os.path.realpath(os.path.join(top, path))
    if full != top and not full.startswith(top + os.sep):
        raise Failed(f"{path} leads out of the folder.")
    return full


def download(item: dict[str, Any], target: str) -> None:
    """One blob into a file, checked."""
    digest, size = hashlib.sha256(), 0
    with call(item["url"], {}) as answer, open(target, "wb") as out:
        while True:
            data = answer.read(CHUNK)
            if not data:
                break
            digest.update(data)
            size += len(data)
            out.write(data)
    if size != item["size"] or digest.hexdigest() != item["sha256"]:
        raise Failed(f"{item['path']} arrived damaged: {size} of {item['size']} bytes.")


def unpack(archive: str, folder: str) -> None:
    """Files and folders only; anything else is refused."""
    with tarfile.open(archive) as tar:
        for member in tar:
            target = inside(folder, member.name)
            if member.isdir():
                os.makedirs(target, exist_ok=True)
            elif member.isfile():
                os.makedirs(os.path.dirname(target), exist_ok=True)
                source = tar.extractfile(member)
                with source, open(target, "wb") as out:  # type: ignore[union-attr]
                    shutil.copyfileobj(source, out, CHUNK)  # type: ignore[arg-type]
            else:
                raise Failed(f"{member.name} in the archive is neither file nor folder.")


def place(item: dict[str, Any]) -> None:
    """Download one item to where it belongs: a file to its path, a tar into the folder of that path."""
    target = inside("app", item["path"])
    part = os.path.join("app", ".part")
    download(item, part)
    if item["kind"] == "tar":
        os.makedirs(target, exist_ok=True)
        unpack(part, target)
        os.remove(part)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(part, target)
    print(f"{item['path']}: {item['size']} bytes", flush=True)


def main() -> int:
    """Everything; the exit status."""
    try:
        with open("token/token") as file:
            token = file.read().strip()
        os.makedirs("app/azureml-models", exist_ok=True)
        with call(os.environ["SLIPWAY_FETCH_URL"], {"Authorization": f"Bearer {token}"}) as answer:
            items = json.load(answer)
        for item in items:
            place(item)
    except (Failed, OSError, ValueError, tarfile.TarError) as error:
        print(f"fetch failed: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
