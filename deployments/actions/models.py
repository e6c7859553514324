"""Models and code: uploaded, registered, described, deleted."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max

from deployments import archives, artifacts, checks, queries
from deployments.models import Artifact, RegisteredModel
from deployments.types import ArtifactKind, Entry
from portal import audit
from portal.models import User, Workspace
from portal.problems import Conflict, Invalid

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
ARCHIVE_ENDINGS = (".tar.gz", ".tgz")
MOST_CODE_BYTES = 50 * 1024**2
MOST_LABELS = 50


class InUse(Conflict):
    code, title = "model_in_use", "The model is in use"


@dataclass(frozen=True)
class Upload:
    """One uploaded file: its path inside the model, its bytes, and how many there are."""

    path: str
    stream: IO[bytes]
    size: int


@dataclass(frozen=True)
class _Kept:
    digest: str
    size: int
    is_archive: bool
    entries: list[Entry]


def check_name(name: str, what: str) -> None:
    """A name is part of paths in the pod and of `name:version`."""
    if not NAME.fullmatch(name):
        raise Invalid(
            f"{name[:60]!r} cannot be the name of {what}: 1 to 255 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit."
        )


def check_labels(labels: Mapping[str, Any] | None, what: str) -> dict[str, str]:
    """Tags or properties: at most 50 texts by name."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping) or not all(isinstance(value, str) for value in labels.values()):
        raise Invalid(f'{what} must be a JSON object of texts, e.g. {{"stage": "test"}}.')
    if len(labels) > MOST_LABELS or any(len(key) > 255 or len(value) > 1000 for key, value in labels.items()):
        raise Invalid(f"{what}: at most {MOST_LABELS}, names up to 255 and values up to 1000 characters.")
    return dict(labels)


def model_register(
    *, workspace: Workspace, name: str, uploads: Sequence[Upload], actor: User, description: str = "",
    tags: Mapping[str, str] | None = None, properties: Mapping[str, str] | None = None, framework: str = "",
    framework_version: str = "", sha256: str | None = None,
) -> RegisteredModel:  # fmt: skip
    """Keep the files and register the next version. One .tar.gz is taken as a folder; several files make a folder.

    Raises InvalidArchive (422) for paths, links or damaged archives, Mismatch (422) for a wrong `sha256`.
    """
    check_name(name, "a model")
    facts = {"tags": check_labels(tags, "tags"), "properties": check_labels(properties, "properties")}
    kept = _keep(uploads, sha256)  # outside the transaction: it may take minutes
    return _register(
        workspace, name, kept, actor, description=description, framework=framework,
        framework_version=framework_version, **facts,
    )  # fmt: skip


@transaction.atomic
def _register(workspace: Workspace, name: str, kept: _Kept, actor: User, **facts: Any) -> RegisteredModel:
    artifact = _artifact(workspace, kept, ArtifactKind.MODEL)
    files = [entry.as_dict() for entry in kept.entries]
    rows = RegisteredModel.objects.filter(workspace=workspace, name=name)
    for _ in range(5):
        version = (rows.aggregate(Max("version"))["version__max"] or 0) + 1
        try:
            with transaction.atomic():
                row = RegisteredModel.objects.create(
                    workspace=workspace, name=name, version=version, artifact=artifact, files=files,
                    size=sum(entry.size for entry in kept.entries), created_by=actor, **facts,
                )  # fmt: skip
        except IntegrityError:
            continue
        after = {"version": version, "size": row.size, "files": len(files), "sha256": kept.digest}
        audit.record(action="model.registered", on=row, actor=actor, after=after)
        return row
    raise Conflict(f"Other versions of {name} are being registered at the moment. Try again.")


def _artifact(workspace: Workspace, kept: _Kept, kind: ArtifactKind) -> Artifact:
    row, _ = Artifact.objects.get_or_create(
        workspace=workspace,
        digest=kept.digest,
        defaults={
            "size": kept.size, "kind": kind, "is_archive": kept.is_archive,
            "files": [entry.as_dict() for entry in kept.entries],
        },
    )  # fmt: skip
    return row


def _keep(uploads: Sequence[Upload], sha256: str | None = None) -> _Kept:
    if not uploads:
        raise Invalid("There are no files: give at least one.")
    paths = archives.safe_paths([upload.path for upload in uploads])
    (first, *others) = uploads
    if others or "/" in paths[0]:
        return _keep_folder(uploads, paths)
    if first.path.endswith(ARCHIVE_ENDINGS):
        entries = archives.inspect(first.stream)
        first.stream.seek(0)
        digest, size = artifacts.store(first.stream, sha256)
        return _Kept(digest, size, True, entries)
    digest, size = artifacts.store(first.stream, sha256)
    return _Kept(digest, size, False, [Entry(paths[0], size, digest)])


def _keep_folder(uploads: Sequence[Upload], paths: Sequence[str]) -> _Kept:
    files = [(path, upload.stream, upload.size) for path, upload in zip(paths, uploads, strict=True)]
    with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as packed:
        entries = archives.pack(files, packed)
        packed.seek(0)
        digest, size = artifacts.store(packed)
    return _Kept(digest, size, True, entries)


@transaction.atomic
def model_update(
    *, model: RegisteredModel, actor: User, description: str | None = None, tags: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
) -> RegisteredModel:  # fmt: skip
    """Change description and tags; add properties, which are written once."""
    before = {"description": model.description, "tags": model.tags, "properties": model.properties}
    given = check_labels(properties, "properties")
    changed = sorted(name for name, value in given.items() if model.properties.get(name, value) != value)
    if changed:
        raise Invalid(f"Properties are written once: {', '.join(changed)} cannot change. Use tags for what changes.")
    model.description = model.description if description is None else description
    model.tags = model.tags if tags is None else check_labels(tags, "tags")
    model.properties = {**model.properties, **given}
    model.save(update_fields=["description", "tags", "properties"])
    after = {"description": model.description, "tags": model.tags, "properties": model.properties}
    audit.record(action="model.described", on=model, actor=actor, before=before, after=after)
    return model


@transaction.atomic
def model_delete(*, model: RegisteredModel, actor: User) -> None:
    """Forget one version. Raises InUse (409) naming the deployments that need it, also for a roll-back."""
    users = queries.deployments_using(model=model)
    if users:
        raise InUse(f"{model} is used by {', '.join(users)}. Delete or change them first.", deployments=users)
    audit.record(action="model.deleted", on=model, actor=actor, before={"version": model.version, "size": model.size})
    artifact = model.artifact
    model.delete()
    if artifact.models.exists() or artifact.revisions.exists():
        return
    digest = artifact.digest
    artifact.delete()
    if not Artifact.objects.filter(digest=digest).exists():
        transaction.on_commit(lambda: artifacts.remove(digest))


def code_upload(*, workspace: Workspace, files: Mapping[str, Any], actor: User) -> Artifact:
    """Keep source files that came as texts by path. Equal folders are kept once."""
    if not isinstance(files, Mapping) or not all(isinstance(text, str) for text in files.values()):
        raise Invalid('code.files must be texts by path, e.g. {"score.py": "…"}.')
    uploads = [Upload(path, io.BytesIO(text.encode()), len(text.encode())) for path, text in files.items()]
    return code_upload_files(workspace=workspace, uploads=uploads, actor=actor)


def code_upload_files(*, workspace: Workspace, uploads: Sequence[Upload], actor: User) -> Artifact:
    """Keep the source folder of an entry script. Raises InvalidArchive, or Invalid above 50 MB."""
    total = sum(upload.size for upload in uploads)
    if total > MOST_CODE_BYTES:
        raise Invalid(f"The code has {total} bytes; at most {MOST_CODE_BYTES} are taken. Put data into a model.")
    if not uploads:
        raise Invalid("There are no files: give at least the entry script.")
    single = len(uploads) == 1 and uploads[0].path.endswith(ARCHIVE_ENDINGS)
    kept = _keep(uploads) if single else _keep_folder(uploads, archives.safe_paths([each.path for each in uploads]))
    with transaction.atomic():
        row = _artifact(workspace, kept, ArtifactKind.CODE)
        audit.record(
            action="code.uploaded", on=workspace, actor=actor, after={"sha256": kept.digest, "size": kept.size}
        )
    if row.kind != ArtifactKind.CODE:
        raise Conflict("The same archive is registered as a model. Upload the files of the code one by one.")
    return row


def read_script(artifact: Artifact, path: str) -> bytes:
    """One file out of code. Raises InvalidScript naming the files that are there."""
    import tarfile

    known = [str(entry["path"]) for entry in artifact.files]
    if path not in known:
        some = ", ".join(known[:5]) + (" …" if len(known) > 5 else "")
        raise checks.InvalidScript(f"The code has no file {path}. It has: {some}.")
    with artifacts.open_blob(artifact.digest) as stream, tarfile.open(fileobj=stream, mode="r:*") as tar:
        for member in tar:
            if archives.safe_path(member.name) == path:
                opened = tar.extractfile(member)
                return opened.read(MOST_CODE_BYTES) if opened else b""
    raise checks.InvalidScript(f"The code has no file {path}.")
