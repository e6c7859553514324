"""Brings a pod its code and models, checked by hash: straight from the Blob storage, or from the portal.

The first where the deployment's Secret has a list of signed addresses; when these do not answer, and without a list,
the deployment's token is traded for the portal's own addresses. Runs as init container with plain Python 3.9 or later,
in the folder that holds program/, token/ and app/. It may run again over what an earlier run left: what is there and
right is not fetched again. The last line it prints says what went wrong.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import ssl
import sys
import tarfile
import time
import urllib.error
import urllib.request
from typing import Any, BinaryIO

TRIES, SECONDS, CHUNK = 5, 30, 1 << 20
PORTAL, BLOB = "The portal", "The Blob storage"


class Failed(Exception):
    """A sentence for the pod's log."""


class Away(Failed):
    """One of the two places does not give the file: the other may."""


def opener(who: str) -> urllib.request.OpenerDirector:
    """Goes straight to the portal, with its own CA when there is one; to the Blob storage as the cluster goes out."""
    if who == BLOB:
        return urllib.request.build_opener()
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    authority = "program/ca.crt"
    if os.path.exists(authority) and os.path.getsize(authority):
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)))
    return urllib.request.build_opener(*handlers)


def call(who: str, url: str, headers: dict[str, str]) -> Any:
    """Open a URL; tries again when the other side is away for a moment. Never prints the query: it is a secret."""
    where = url.partition("?")[0]
    for attempt in range(TRIES):
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the portal gave it)
            return opener(who).open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise Away(f"{who} answered {error.code} at {where}.") from None
            trouble = f"status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            trouble = str(getattr(error, "reason", error))
        if attempt + 1 < TRIES:
            time.sleep(2**attempt)
    raise Away(f"{who} cannot be reached at {where}: {trouble}.")


def inside(root: str, path: str) -> str:
    """The absolute path below root. Raises Failed when it would lead outside."""
    top = os.path.realpath(root)
    full = os.path.realpath(os.path.join(top, path))
    if full != top and not full.startswith(top + os.sep):
        raise Failed(f"{path} leads out of the folder.")
    return full


def download(who: str, item: dict[str, Any], target: str) -> None:
    """One blob into a file, checked. A transfer that breaks off goes on where it ended."""
    with open(target, "w+b") as out:
        for _ in range(TRIES):
            start = out.seek(0, os.SEEK_END)
            with call(who, item["url"], {"Range": f"bytes={start}-"} if start else {}) as answer:
                if start and answer.status != 206:
                    out.truncate(out.seek(0))
                copy(answer, out)
            if out.tell() >= item["size"]:
                break
    check(item, target)


def copy(answer: Any, out: BinaryIO) -> None:
    """What comes, until it ends or breaks off."""
    try:
        while True:
            data = answer.read(CHUNK)
            if not data:
                return
            out.write(data)
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        print(f"The transfer broke off ({error}).", flush=True)


def digest_of(path: str) -> str:
    """SHA-256 in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return digest.hexdigest()
            digest.update(data)


def check(item: dict[str, Any], path: str) -> None:
    """Raises Failed unless the file has the size and the hash that were registered."""
    size, found = os.path.getsize(path), digest_of(path)
    if size != item["size"]:
        raise Failed(f"{name(item)} arrived damaged: {size} of {item['size']} bytes.")
    if found != item["sha256"]:
        raise Failed(
            f"{name(item)} arrived damaged: its SHA-256 is {found}, not {item['sha256']}. "
            "What lies in the storage is not what was registered."
        )


def name(item: dict[str, Any]) -> str:
    """The item for people; code has no folder of its own."""
    return item["path"] or "The code"


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


def place(who: str, item: dict[str, Any]) -> None:
    """Download one item to where it belongs: a file to its path, a tar into the folder of that path."""
    target, part = inside("app", item["path"]), os.path.join("app", ".part")
    if is_there(item, target):
        print(f"{name(item)}: it is there already", flush=True)
        return
    download(who, item, part)
    if item["kind"] == "tar":
        os.makedirs(target, exist_ok=True)
        unpack(part, target)
        os.remove(part)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(part, target)
    print(f"{name(item)}: {item['size']} bytes", flush=True)


def is_there(item: dict[str, Any], target: str) -> bool:
    """Whether an earlier run brought this file."""
    if item["kind"] != "file" or not os.path.isfile(target) or os.path.getsize(target) != item["size"]:
        return False
    return bool(digest_of(target) == item["sha256"])


def from_blob() -> str | None:
    """Everything by the addresses in the Secret: None when it is done. Else why it is not; empty without addresses."""
    if not os.path.exists("token/files.json"):
        return ""
    with open("token/files.json") as file:
        items = json.load(file)
    try:
        for item in items:
            place(BLOB, item)
    except Away as trouble:
        return str(trouble)
    return None


def from_portal() -> None:
    """Everything by the addresses that the portal gives for the token."""
    with open("token/token") as file:
        token = file.read().strip()
    with call(PORTAL, os.environ["SLIPWAY_FETCH_URL"], {"Authorization": f"Bearer {token}"}) as answer:
        items = json.load(answer)
    for item in items:
        place(PORTAL, item)


def main() -> int:
    """Everything; the exit status."""
    try:
        os.makedirs("app/azureml-models", exist_ok=True)
        before = from_blob()
        if before is None:
            return 0
        if before:
            print(f"{before} The portal is asked instead.", flush=True)
        from_portal()
    except Away as trouble:
        print(f"fetch failed: {trouble} {before}".strip(), flush=True)
        return 1
    except (Failed, OSError, ValueError, tarfile.TarError) as error:
        print(f"fetch failed: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
