"""What a cluster that is to be attached is like, compared with what the portal needs: facts in, findings out. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from compute import platforms, rights
from compute.preflight import ERROR, OK, WARNING
from compute.types import ClusterView, Finding

SOON = timedelta(days=30)


@dataclass(frozen=True)
class Note:
    """Whose a cluster is besides: a note of a portal in it. `installation` is "" where an earlier release wrote it."""

    installation: str
    workspace: str
    compute_target: str
    id: str


def existence(view: ClusterView | None, group: str, name: str) -> list[Finding]:
    """Whether Azure has the cluster."""
    if view is None:
        words = f"Azure has no cluster {name} in {group}."
        return [Finding("cluster_missing", ERROR, words, "Look at the names: az aks list --output table")]
    return [Finding("cluster_found", OK, f"{name} is there, in {view.region}.", facts={"region": view.region})]


def state(view: ClusterView) -> list[Finding]:
    """Whether Azure is done with it."""
    if view.provisioning_state.lower() == "succeeded":
        return [Finding("state_succeeded", OK, f"{view.name} is Succeeded.")]
    words = f"{view.name} is {view.provisioning_state} in Azure. A cluster can be attached when it is Succeeded."
    fix = "Wait until Azure is done." if not view.is_settled else f"Repair it: az aks update {_which(view)}"
    return [Finding("state_not_succeeded", ERROR, words, fix, {"state": view.provisioning_state})]


def power(view: ClusterView) -> list[Finding]:
    """Whether it runs."""
    if not view.is_stopped:
        return [Finding("running", OK, f"{view.name} is running.")]
    words = f"{view.name} is {view.power_state.lower()} in Azure. Start it, then attach it."
    return [Finding("not_running", ERROR, words, f"az aks start {_which(view)}")]


def version(view: ClusterView, offered: Sequence[str]) -> list[Finding]:
    """Whether AKS still supports its Kubernetes version in its region."""
    minor = ".".join(view.kubernetes_version.split(".")[:2])
    if not offered or minor in offered:
        return [Finding("version_supported", OK, f"{view.name} runs Kubernetes {view.kubernetes_version}.")]
    words = (
        f"{view.name} runs Kubernetes {view.kubernetes_version}, which AKS no longer supports. "
        f"Upgrade it to one of {', '.join(offered)}."
    )
    fix = f"az aks upgrade {_which(view)} --kubernetes-version {offered[0]}"
    return [Finding("version_unsupported", ERROR, words, fix, {"offered": list(offered)})]


def ranges(view: ClusterView, outgoing: Sequence[str], wanted: str) -> list[Finding]:
    """Who may reach the API server, and whether the portal's own addresses (as configured) are among them."""
    given = list(view.authorized_ip_ranges)
    if view.is_private:
        words = f"{view.name} is private: its API server has an address in its virtual network only."
        return [Finding("private_cluster", WARNING, words, "Run the portal in that network or one peered with it.")]
    if not given:
        return [Finding("ranges_open", OK, f"The API server of {view.name} takes requests from every address.")]
    told = ", ".join(given)
    if wanted and not covers(given, wanted):
        words = f"The API server of {view.name} lets in only {told}; {wanted} is added when it is attached."
        return [Finding("range_to_be_added", OK, words, facts={"ranges": given, "adds": wanted})]
    missing = [each for each in outgoing if not covers(given, each)]
    if missing:
        words = f"The API server of {view.name} lets in only {told}, not the portal's {', '.join(missing)}."
        fix = f"Attach with authorize_range {missing[0]}: then the portal adds it."
        return [Finding("range_missing", ERROR, words, fix, {"ranges": given, "missing": missing})]
    if not outgoing and not wanted:
        words = f"The API server of {view.name} lets in only {told}; the portal does not know its own address."
        return [Finding("own_address_unknown", WARNING, words, "Set SLIPWAY_OUTGOING_RANGES, or give authorize_range.")]
    return [Finding("range_authorized", OK, f"The API server of {view.name} lets in the portal's address ({told}).")]


def covers(given: Iterable[str], wanted: str) -> bool:
    """Whether one of the ranges holds the wanted one."""
    inner = ipaddress.IPv4Network(wanted)
    outer = [ipaddress.IPv4Network(text, strict=False) for text in given if ":" not in text]
    return any(inner.subnet_of(each) for each in outer)


def sign_in(view: ClusterView) -> list[Finding]:
    """How the portal signs in at the API server."""
    if not view.is_entra:
        return [Finding("local_accounts", OK, f"{view.name} gives out its own accounts; the portal uses one.")]
    only = " only" if view.has_no_local_accounts else ""
    words = f"{view.name} takes Microsoft Entra sign-in{only}: the portal uses the workspace's identity."
    return [Finding("entra_sign_in", OK, words)]


def inside(name: str, cluster_id: str, missing: Sequence[str], is_entra: bool) -> list[Finding]:
    """What the portal may do in the cluster; `missing` are words like "create and patch secrets"."""
    if not missing:
        return [Finding("permitted_inside", OK, f"The portal may make in {name} what it needs.")]
    words = f"The portal may not {', '.join(missing)} in {name}."
    fix = _inside_fix(cluster_id, is_entra)
    return [Finding("permission_missing_inside", ERROR, words, fix, {"missing": list(missing)})]


def turned_away(name: str, cluster_id: str, detail: str, is_entra: bool) -> list[Finding]:
    """The API server answered and does not take the portal's credential."""
    words = f"The API server of {name} does not take the portal's credential: {detail}"
    return [Finding("sign_in_refused", ERROR, words, _inside_fix(cluster_id, is_entra))]


def _inside_fix(cluster_id: str, is_entra: bool) -> str:
    if is_entra:
        return rights.grant(rights.INSIDE_ROLE, cluster_id)
    if not cluster_id:
        return "Give its account the ClusterRole slipway (docs/any-kubernetes.md), or cluster-admin."
    return "Bind its account to the role cluster-admin."


def window(name: str, version: str) -> list[Finding]:
    """Whether the portal supports the Kubernetes version of a cluster that is not AKS's."""
    found, oldest, newest = platforms.minor(version), platforms.OLDEST, platforms.NEWEST
    span = f"{_dotted(oldest)} to {_dotted(newest)}"
    if found is not None and found < oldest:
        words = f"{name} runs Kubernetes {version}; the portal supports {span}."
        return [Finding("version_unsupported", ERROR, words, f"Upgrade it to {_dotted(oldest)} or later.")]
    if found is None or found > newest:
        words = f"{name} runs Kubernetes {version or 'of an unknown version'}; the portal is tested with {span}."
        return [Finding("version_untested", WARNING, words)]
    return [Finding("version_supported", OK, f"{name} runs Kubernetes {version}.")]


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def processors(name: str, kinds: Mapping[str, int]) -> list[Finding]:
    """Nodes whose processors the usual images are not for; `kinds` has a number of nodes by architecture."""
    strange = {kind: count for kind, count in kinds.items() if kind != "amd64"}
    if not strange:
        return []
    told = ", ".join(f"{count} of {kind}" for kind, count in sorted(strange.items()))
    words = f"{name} has nodes ({told}) on which images for amd64 do not run."
    return [Finding("other_processors", WARNING, words, "Give environments images that are built for them.")]


def credential_end(ends: datetime | None, now: datetime) -> list[Finding]:
    """How long the kubeconfig's credential lasts, where it says so."""
    if ends is None:
        return [Finding("credential_lasts", OK, "The kubeconfig's credential names no end.")]
    words = f"The kubeconfig's credential ends on {ends:%Y-%m-%d %H:%M} UTC."
    if ends - now < SOON:
        fix = "Use a service account with a token that lasts, or replace the kubeconfig before."
        return [Finding("credential_ends_soon", WARNING, words, fix)]
    return [Finding("credential_lasts", OK, words)]


def twice(name: str, existing: str) -> list[Finding]:
    """The same cluster in the same workspace, whatever it is called and however it was attached."""
    words = f"{name} is attached to this workspace already, as {existing}."
    return [Finding("already_attached", ERROR, words, f"Use {existing}, or detach it first.", {"existing": existing})]


def elsewhere(name: str, near: Sequence[str], strangers: int) -> list[Finding]:
    """Other attachments of this portal: `near` are workspaces of the same team, others are only counted."""
    told = [f"the workspace{'s' if len(near) > 1 else ''} {', '.join(near)}"] if near else []
    told += ["another team of this portal"] if strangers else []
    if not told:
        return [Finding("not_attached", OK, f"No other workspace of this portal has {name}.")]
    words = f"{name} is attached to {' and '.join(told)} too: it will run one gateway for each."
    return [Finding("attached_elsewhere", OK, words, facts={"workspaces": list(near)})]


def owners(name: str, notes: Iterable[Note], installation: str, workspace: str) -> list[Finding]:
    """Other portals that left a note in the cluster. Two of them get along as long as their names differ."""
    found = []
    for note in notes:
        if note.installation in ("", installation):
            continue
        other = f"the portal {note.installation[:8]} (workspace {note.workspace}, as {note.compute_target})"
        facts: Mapping[str, str] = {"installation": note.installation, "workspace": note.workspace}
        if note.workspace == workspace:
            words = f"{name} is attached to {other} too, whose workspace has this one's name: their namespaces meet."
            fix = "Detach it there, or attach it to a workspace of another name."
            found.append(Finding("other_portal_same_name", ERROR, words, fix, dict(facts)))
            continue
        words = f"{name} is attached to {other} too: it will run two gateways."
        found.append(Finding("other_portal", WARNING, words, "Detach it there if that is not wanted.", dict(facts)))
    return found or [Finding("no_other_portal", OK, f"No other portal has left a note in {name}.")]


def reached(name: str, trouble: str, given: Sequence[str]) -> list[Finding]:
    """Whether the API server answered; `trouble` is why not."""
    if not trouble:
        return [Finding("reachable", OK, f"The API server of {name} answers.")]
    return [Finding("unreachable", ERROR, *unreachable(name, given, trouble))]


def unreachable(name: str, given: Sequence[str], detail: str) -> tuple[str, str]:
    """Why an API server may be out of reach, and what would help."""
    if not given:
        return f"The API server of {name} cannot be reached from the portal. {detail}", "Look at its network and DNS."
    words = f"The API server of {name} lets in only {', '.join(given)}. {detail}"
    return words, "Add the portal's address there, or attach again with authorize_range."


def _which(view: ClusterView) -> str:
    return f"--resource-group {view.resource_group} --name {view.name}"
