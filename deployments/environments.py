"""Environment specs: from what people give to one normal form, its hash, and the build context. Pure."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from deployments import checks
from deployments.checks import InvalidRequirements

SERVER = "azureml-inference-server-http==1.5.1"
FIRST_LINE = "# slipway-environment 1"
PIP_BASE, CONDA_BASE = "python:{python}-slim", "mambaorg/micromamba:2-debian12-slim"
MOST_CHARACTERS = 100_000
FORMS = ("pip", "requirements", "conda", "image")


def spec(
    *, python: str = "3.11", pip: list[Any] | None = None, requirements: str = "", conda: str = "", image: str = "",
    base_image: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The stored form of one of: a pip list, the text of a requirements file, a conda file, an image name.

    `base_image` is what the first three are built on; in its name {python} stands for the version.
    """
    given = [name for name, value in zip(FORMS, (pip is not None, requirements, conda, image), strict=True) if value]
    if len(given) != 1:
        had = " and ".join(given) or "none"
        raise InvalidRequirements(f"Give one of {', '.join(FORMS)}; you gave {had}.")
    if len(requirements) + len(conda) + sum(len(str(line)) for line in pip or []) > MOST_CHARACTERS:
        raise InvalidRequirements(f"The environment is longer than {MOST_CHARACTERS} characters.")
    if image:
        if base_image:
            raise InvalidRequirements(f"The image {image} is taken as it is: it has no base image. Leave that out.")
        return {"image": checks.image(image)}
    if conda:
        checks.conda(conda)
        return _on({"conda": conda, "python": checks.python(python)}, base_image)
    lines = pip if pip is not None else requirements.splitlines()
    return _on({"python": checks.python(python), "pip": checks.requirements(lines)}, base_image)


def _on(wanted: dict[str, Any], base_image: str) -> dict[str, Any]:
    """With its base, unless that is what it would be built on anyway: then the content is the same."""
    base = checks.image(base_image.replace("{python}", wanted["python"])) if base_image else ""
    return wanted if base in ("", base_of(wanted)) else {**wanted, "base": base}


def base_of(wanted: dict[str, Any]) -> str:
    """The image that a build starts from."""
    default = CONDA_BASE if "conda" in wanted else PIP_BASE.replace("{python}", wanted.get("python", "3.11"))
    return str(wanted.get("base") or default)


def content_hash(wanted: dict[str, Any]) -> str:
    """SHA-256 over all that decides the image: equal specs share one build."""
    text = json.dumps([FIRST_LINE, SERVER, _normal(wanted)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(wanted: dict[str, Any]) -> dict[str, Any]:
    return {**wanted, "pip": sorted(wanted["pip"])} if "pip" in wanted else wanted


def image_name(digest: str) -> str:
    """Repository and tag of a built environment."""
    return f"slipway/environments:{digest[:40]}"


def context(wanted: dict[str, Any]) -> bytes:
    """The build context, a tar.gz that is the same bytes for the same spec."""
    python = wanted.get("python", "3.11")
    files = {"environment.json": json.dumps({"python": python, "server": SERVER}) + "\n"}
    if "conda" in wanted:
        files |= {"conda.yaml": wanted["conda"], "Dockerfile": _conda_dockerfile(base_of(wanted), python)}
    else:
        lines = [SERVER, "gunicorn", *wanted["pip"]]
        files |= {"requirements.txt": "\n".join(lines) + "\n", "Dockerfile": _pip_dockerfile(base_of(wanted))}
    return _tar_gz(files)


def _tar_gz(files: dict[str, str]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue(), mtime=0)


def _pip_dockerfile(base: str) -> str:
    return f"""{FIRST_LINE}
FROM {base}
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir -r /tmp/requirements.txt
{_user()}"""


def _conda_dockerfile(base: str, python: str) -> str:
    return f"""{FIRST_LINE}
FROM {base}
COPY conda.yaml /tmp/conda.yaml
RUN micromamba install -y -n base -c conda-forge python={python} -f /tmp/conda.yaml \\
 && micromamba run -n base pip install --no-cache-dir {SERVER} gunicorn
ENV PATH=/opt/conda/bin:$PATH
{_user()}"""


def _user() -> str:
    return "USER 0\nRUN mkdir -p /srv/slipway && chown 1000:1000 /srv/slipway\nWORKDIR /srv/slipway\nUSER 1000\n"
