"""Every read of models, environments, code and deployments, with the permission check."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import IO, Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from deployments import artifacts, collected, manifests
from deployments.models import (
    Artifact,
    CollectedDay,
    Collecting,
    Deployment,
    Environment,
    RegisteredModel,
    RegistryLogin,
    Revision,
    RunRules,
)
from deployments.types import ArtifactKind
from portal import queries as portal
from portal.models import User, Workspace
from portal.problems import NotFound
from portal.secrets import fingerprint
from portal.types import Role


def model(*, actor: User, workspace: str, name: str, version: int | None = None, needs: Role) -> RegisteredModel:
    """One model of the workspace with that slug; without a version the newest."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    rows = _models(home).filter(name=name)
    found = rows.filter(version=version).first() if version is not None else rows.order_by("-version").first()
    if found is None:
        label = name if version is None else f"{name}:{version}"
        newest = rows.order_by("-version").first()
        hint = f" The newest is {newest}." if newest else ""
        raise NotFound(f"There is no model {label} in {home.name}.{hint}")
    return found


def models(*, workspace: Workspace, name: str = "", search: str = "") -> QuerySet[RegisteredModel]:
    """The models of a workspace that the caller has already been let into, newest first."""
    rows = _models(workspace).order_by("-created_at", "-pk")
    rows = rows.filter(name=name) if name else rows
    return rows.filter(Q(name__icontains=search) | Q(framework__icontains=search)) if search else rows


def _models(workspace: Workspace) -> QuerySet[RegisteredModel]:
    rows = RegisteredModel.objects.select_related("workspace__team", "artifact", "created_by")
    return rows.filter(workspace=workspace)


def environment(*, actor: User, workspace: str, name: str, version: int | None = None, needs: Role) -> Environment:
    """One environment of the workspace with that slug; without a version the newest."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    rows = environments(workspace=home).filter(name=name)
    found = rows.filter(version=version).first() if version is not None else rows.order_by("-version").first()
    if found is None:
        label = name if version is None else f"{name}:{version}"
        raise NotFound(f"There is no environment {label} in {home.name}.")
    return found


def environments(*, workspace: Workspace, name: str = "") -> QuerySet[Environment]:
    """The environments of a workspace that the caller has already been let into, newest first."""
    rows = Environment.objects.select_related("workspace__team", "created_by").filter(workspace=workspace)
    return (rows.filter(name=name) if name else rows).order_by("-created_at", "-pk")


def code(*, actor: User, workspace: str, digest: str, needs: Role) -> Artifact:
    """Uploaded code of the workspace with that slug."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    found = Artifact.objects.filter(workspace=home, digest=digest, kind=ArtifactKind.CODE).first()
    if found is None:
        raise NotFound(f"There is no code {digest[:12]}… in {home.name}: upload it first.")
    return found


def deployments_using(*, model: RegisteredModel) -> list[str]:
    """Names of the deployments of which a revision has the model, sorted."""
    rows = Deployment.objects.filter(revisions__models=model).values_list("name", flat=True)
    return sorted(set(rows))


def revision_of(*, deployment: Deployment, number: int | None = None) -> Revision:
    """One revision, by default the wanted one."""
    wanted = deployment.revision if number is None else number
    rows = Revision.objects.select_related("environment", "code").prefetch_related("models__artifact")
    found = rows.filter(deployment=deployment, number=wanted).first()
    if found is None:
        raise NotFound(f"{deployment.name} has no revision {wanted}.")
    return found


def blob(*, digest: str) -> IO[bytes]:
    """The bytes of a blob that the caller has already been let read."""
    return artifacts.open_blob(digest)


def is_signed(*, digest: str, expires: str, signature: str) -> bool:
    """Whether a URL that a cluster shows lets it read the blob now."""
    return artifacts.verify("GET", digest, expires, signature)


def files_for_pod(*, deployment_id: int, number: int, token: str) -> list[dict[str, Any]]:
    """What a pod of one revision downloads: url, sha256, size, kind (file or tar) and path below its folder.

    Raises NotFound for a wrong token as for a deployment that is not there.
    """
    found = Deployment.objects.filter(pk=deployment_id).first()
    right = hmac.compare_digest(fingerprint(token), found.fetch_token_digest if found else "0" * 64)
    if found is None or not right:
        raise NotFound("There is nothing here.")
    items = files_of(revision=revision_of(deployment=found, number=number))
    return [{"url": artifacts.signed_url(str(item["sha256"])), **item} for item in items]


def files_of(*, revision: Revision) -> list[dict[str, Any]]:
    """What a pod of the revision needs: sha256, size, kind (file or tar) and path below its folder."""
    items = [] if revision.code is None else [_item(revision.code, "")]
    for each in revision.models.order_by("name", "version"):
        items.append(_item(each.artifact, manifests.models_path(((each.name, each.version),)), each.files))
    return items


def _item(artifact: Artifact, folder: str, files: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    path = folder if artifact.is_archive else f"{folder}/{(files or artifact.files)[0]['path']}".lstrip("/")
    return {
        "sha256": artifact.digest,
        "size": artifact.size,
        "kind": "tar" if artifact.is_archive else "file",
        "path": path,
    }


def served_as(*, deployment: Deployment) -> tuple[str, str]:
    """The service or endpoint that a deployment is behind, and its version there; its own name while it is behind
    none.
    """
    names = ("endpoint_version__endpoint__name", "endpoint_version__name")
    service, version = Deployment.objects.values_list(*names).get(pk=deployment.pk)
    return (service, version) if service else (deployment.name, "")


def collecting_deployment(*, deployment_id: int, token: str) -> Deployment:
    """The deployment that a replica adds collected requests to. Raises NotFound for a wrong token as for no such."""
    found = Deployment.objects.select_related("workspace__team").filter(pk=deployment_id).first()
    held = found.collect_token_digest if found else ""
    if found is None or not hmac.compare_digest(fingerprint(token), held or "0" * 64):
        raise NotFound("There is nothing here.")
    return found


def collection(*, deployment: Deployment) -> dict[str, Any] | None:
    """How the collection of requests goes of a deployment that the caller may see; None: it was never on."""
    state: Collecting | None = getattr(deployment, "collecting", None)
    if state is None:
        return None
    now = timezone.now()
    calm = collected.is_calm(state, now)
    return {
        "is_on": state.is_on, "lost": 0 if calm else state.lost, "since": None if calm else state.since,
        "warning": collected.warning(state, now, ready=deployment.ready_replicas),
    }  # fmt: skip


def badly_collecting(*, workspace: Workspace) -> QuerySet[Deployment]:
    """Deployments of a workspace whose collection may have a warning now."""
    now = timezone.now()
    late = Q(collecting__is_on=True, collecting__told_at__lt=now - collected.SILENT, ready_replicas__gt=0)
    rows = Deployment.objects.select_related("collecting").filter(workspace=workspace)
    return rows.filter(late | Q(collecting__troubled_at__gt=now - collected.CALM)).order_by("name", "pk")


def collected_days(
    *, workspace: Workspace, service: str = "", version: str = "", deployment: Deployment | None = None
) -> QuerySet[CollectedDay]:
    """What is collected in a workspace that the caller has already been let into, newest day first."""
    rows = CollectedDay.objects.select_related("workspace__team").filter(workspace=workspace, forgotten_at=None)
    rows = rows.filter(source=deployment.pk) if deployment else rows
    rows = rows.filter(service=service) if service else rows
    return (rows.filter(version=version) if version else rows).order_by("-day", "-pk")


def collected_sum(*, rows: QuerySet[CollectedDay]) -> dict[str, int]:
    """Lines, bytes and losses of days together, and how many days."""
    found = rows.order_by().aggregate(days=Count("pk"), lines=Sum("lines"), size=Sum("size"), lost=Sum("lost"))
    return {name: value or 0 for name, value in found.items()}


def collected_day(*, actor: User, workspace: str, id: int, needs: Role) -> CollectedDay:
    """One day of one version, by its number."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    found = collected_days(workspace=home).filter(pk=id).first()
    if found is None:
        raise NotFound(f"There is no collected day {id} in {home.name}.")
    return found


def parts_of(*, names: list[str]) -> Iterator[bytes]:
    """The bytes of parts that the caller has already been let read, one after the other."""
    return collected.chunks(names)


def rules(*, workspace: Workspace) -> RunRules:
    """What a workspace decides about all that runs; its defaults while nobody changed them."""
    return RunRules.objects.filter(workspace=workspace).first() or RunRules(workspace=workspace)


def registry_logins(*, workspace: Workspace) -> QuerySet[RegistryLogin]:
    """The logins of a workspace that the caller has already been let into."""
    return RegistryLogin.objects.filter(workspace=workspace).order_by("server")


def registry_login(*, actor: User, workspace: str, server: str, needs: Role) -> RegistryLogin:
    """One login."""
    home = portal.workspace(actor=actor, slug=workspace, needs=needs)
    found = registry_logins(workspace=home).filter(server=server.lower()).first()
    if found is None:
        raise NotFound(f"There is no login for {server} in {home.name}.")
    return found


def state_counts() -> dict[str, int]:
    """State -> deployments of all workspaces, for who runs the portal."""
    return dict(Deployment.objects.values_list("state").annotate(Count("pk")).order_by("state"))
