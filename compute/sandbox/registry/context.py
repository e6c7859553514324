"""The context of a build: unpacked with care, and read as what should be installed."""

import hashlib
import json
import re
import tarfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import yaml

FIRST_LINE = "# slipway-environment 1"
BASE = ("azureml-inference-server-http==1.5.1", "gunicorn")
MOST_BYTES, _MOST_FILES = 8 * 1024 * 1024, 200
_KNOWN = re.compile(
    r"(docker\.io/(library/)?|[a-z0-9]+\.azurecr\.io/([a-z0-9._-]+/)*|mcr\.microsoft\.com/([a-z0-9._-]+/)*)?"
    r"(python|(mambaorg/)?micromamba):[\w.-]+(@sha256:[0-9a-f]{64})?"
)
_CONDA = re.compile(r"(?:[\w.-]+::)?([A-Za-z0-9][\w.-]*)\s*(.*)")


class Refused(Exception):
    """A context that is not built; the text says why."""


@dataclass(frozen=True)
class Wanted:
    """What an environment holds."""

    python: str
    requirements: tuple[str, ...]
    base: str = ""

    @property
    def key(self) -> str:
        """The same for the same contents."""
        text = json.dumps([self.python, self.requirements, BASE, self.base])
        return hashlib.sha256(text.encode()).hexdigest()


def read(archive: bytes, dockerfile: str) -> Wanted:
    """What the tar.gz asks for. Raises Refused."""
    try:
        files = _unpack(archive)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Refused(f"The uploaded context is no tar.gz archive ({error}).") from None
    lines = files.get(dockerfile or "Dockerfile", "").splitlines()
    if not lines or lines[0].strip() != FIRST_LINE:
        words = f"Its first line must be '{FIRST_LINE}'; this registry builds pip and conda environments only."
        raise Refused(f"The Dockerfile was not made by the portal. {words}")
    try:
        python = str(json.loads(files.get("environment.json", "{}")).get("python", ""))
    except (ValueError, AttributeError):
        raise Refused("environment.json is no JSON object.") from None
    base = _base(lines)
    minor = re.search(r"(?:^|/)python:(\d+\.\d+)", base)
    python = minor[1] if minor else python
    conda = files.get("conda.yaml")
    found, from_conda = _conda(conda) if conda is not None else ([], "")
    found += [line.strip() for line in files.get("requirements.txt", "").splitlines()]
    kept = tuple(line for line in found if line and not line.startswith("#"))
    for line in kept:
        if line.startswith("-") and not line.startswith(("--extra-index-url", "--index-url", "--find-links", "--pre")):
            raise Refused(f"The requirement line {line!r} is not supported; name packages only.")
    return Wanted(python or from_conda, kept, base)


def _base(lines: list[str]) -> str:
    """The image after FROM. Refused, as a build is, for one that no registry has."""
    found = [line.split()[1] for line in lines if line.upper().startswith("FROM ") and len(line.split()) > 1]
    if found and not _KNOWN.fullmatch(found[0]):
        raise Refused(f"ERROR: failed to solve: {found[0]}: not found (this registry knows python and micromamba)")
    return found[0] if found else ""


def _unpack(archive: bytes) -> dict[str, str]:
    files: dict[str, str] = {}
    total = 0
    with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            total += member.size
            if not (member.isfile() or member.isdir()) or name.startswith("/") or ".." in name.split("/"):
                raise Refused(f"The context holds {name!r}, which is a link, a device or leads outside.")
            if total > MOST_BYTES or len(files) >= _MOST_FILES:
                raise Refused(f"The context is over {MOST_BYTES} bytes or {_MOST_FILES} files.")
            stream = tar.extractfile(member) if member.isfile() else None
            if stream is not None:
                files[name] = stream.read().decode("utf-8", "replace")
    return files


def _conda(text: str) -> tuple[list[str], str]:
    try:
        doc: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f"conda.yaml is no YAML: {error}") from None
    rows = doc.get("dependencies") if isinstance(doc, dict) else None
    if not isinstance(rows, list):
        raise Refused("conda.yaml has no list of dependencies.")
    found, python = [], ""
    for row in rows:
        if isinstance(row, dict):
            found += [str(line).strip() for line in row.get("pip") or []]
            continue
        name, version = _conda_package(str(row))
        if name == "python":
            python = ".".join(re.findall(r"\d+", version)[:2])
        elif name != "pip":
            found.append(name + version)
    return found, python


def _conda_package(row: str) -> tuple[str, str]:
    match = _CONDA.fullmatch(row.strip())
    if match is None:
        raise Refused(f"The conda dependency {row!r} cannot be read.")
    name, version = match.group(1).lower(), match.group(2).replace(" ", "")
    if re.fullmatch(r"=[^=].*", version):
        version = "=" + version  # conda's single sign asks for that version or its patches
        version = version if "*" in version or version.count(".") >= 2 else version + ".*"
    return name, re.sub(r"(==[^=]+)=[^=]+$", r"\1", version)
