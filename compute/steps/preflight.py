"""Look before anything is asked of Azure: would it refuse? One list of findings for page, REST and operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from django.core.cache import cache

from compute import actions, options, preflight, queries, rights, sizes
from compute.arm import Arm, ArmDenied, ArmNotFound
from compute.models import ComputeTarget
from compute.steps.waiting import arm_for, patient, target_of, view_of
from compute.types import Finding, Purpose, VmSize
from portal.models import Operation, Workspace
from portal.problems import Held, Problem, Retryable
from portal.types import Wait

CAP_SECONDS = 15.0
OFFERS_SECONDS, VERSIONS_SECONDS, SHORT_SECONDS = 600, 600, 30
TRIES = 3
QUOTAS = ("quota_region", "quota_family")
Answers = dict[str, Any]


class PreflightFailed(Problem):
    """`findings` has all of them, also what is well."""

    status, code, title = 422, "preflight_failed", "Azure would refuse this"


class TooSlow(Problem):
    status, code, title = 504, "azure_slow", "Azure did not answer in time"


@dataclass(frozen=True)
class Wish:
    """The cluster that somebody wants, as far as a preflight looks at it. `options` are the checked settings."""

    subscription_id: str
    resource_group: str
    region: str
    vm_size: str
    count: int
    version: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group_id(self) -> str:
        """The resource group's id."""
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"


@patient
def check_create(op: Operation) -> Wait | None:
    """Fail with all findings when Azure would refuse the cluster. One that is there, or under way, is not looked at."""
    target = target_of(op)
    arm = arm_for(target)
    if op.memo.get("accepted") or view_of(target, arm) is not None:
        return None
    findings, trouble = create_findings(target.workspace, arm, wish_of(target))
    conclude(op, findings, trouble)
    return None


def conclude(op: Operation, findings: list[Finding], trouble: Retryable | None) -> None:
    """Store the findings in the operation. Raises PreflightFailed for errors, and Retryable while Azure may yet say."""
    if isinstance(trouble, Held) or (trouble is not None and op.memo.get("troubles", 0) + 1 < TRIES):
        raise trouble
    told = [finding.as_dict() for finding in findings]
    op.memo["findings"] = told
    if not preflight.passes(findings):
        raise PreflightFailed(preflight.told(findings), findings=told)


def wish_of(target: ComputeTarget) -> Wish:
    """What a row wants."""
    return Wish(
        target.subscription_id, target.resource_group, target.region, target.vm_size, target.node_count,
        target.kubernetes_version, target.config,
    )  # fmt: skip


def create_findings(workspace: Workspace, arm: Arm, wish: Wish) -> tuple[list[Finding], Retryable | None]:
    """All findings about a new cluster, within 15 s; and what may pass by itself, if something did not answer."""
    subnet_id = str(wish.options.get("subnet_id") or "")
    reads = {**_size_reads(workspace, arm, wish), "group": _group(workspace, arm, wish), "rights": lambda: _short(
        workspace, f"rights:{wish.group_id}", lambda: arm.reads.rights(wish.group_id))}  # fmt: skip
    if subnet_id:
        reads["subnet"] = lambda: _short(workspace, f"subnet:{subnet_id}", lambda: arm.reads.subnet(subnet_id))
        reads["join"] = lambda: _short(workspace, f"rights:{subnet_id}", lambda: arm.reads.rights(subnet_id))
    identity = str(wish.options.get("identity") or "")
    if identity:
        reads["identity"] = lambda: _short(workspace, f"rights:{identity}", lambda: arm.reads.rights(identity))
    answers = ask(arm, reads)
    if "denied" in answers:
        return [answers["denied"]], None
    findings = [
        *_group_findings(answers, wish), *_system_findings(answers, wish), *size_findings(answers, wish),
        *_version_findings(answers, wish), *_network_findings(answers, wish), *_identity_findings(answers, wish),
    ]  # fmt: skip
    return findings, next((each for each in answers.values() if isinstance(each, Retryable)), None)


def pool_findings(workspace: Workspace, arm: Arm, wish: Wish) -> tuple[list[Finding], Retryable | None]:
    """Permission, size, zones and quota for `wish.count` further nodes, and the subnet's room where the wish names one.

    Where none come at once, a quota without room for those that may come is a warning.
    """
    if not wish.count:
        most = (wish.options.get("autoscaler") or {}).get("max_count", 0)
        findings, trouble = pool_findings(workspace, arm, replace(wish, count=max(most, 1)))
        return [_later(each) for each in findings], trouble
    subnet_id, cluster_id = str(wish.options.get("subnet_id") or ""), str(wish.options["cluster_id"])
    reads = _size_reads(workspace, arm, wish)
    reads["may"] = lambda: _short(workspace, f"rights:{cluster_id}", lambda: arm.reads.rights(cluster_id))
    if subnet_id:
        reads["subnet"] = lambda: _short(workspace, f"subnet:{subnet_id}", lambda: arm.reads.subnet(subnet_id))
        reads["join"] = lambda: _short(workspace, f"rights:{subnet_id}", lambda: arm.reads.rights(subnet_id))
    answers = ask(arm, reads)
    if "denied" in answers:
        return [answers["denied"]], None
    findings = [*_pool_permission(answers["may"], cluster_id), *size_findings(answers, wish)]
    if subnet_id:
        findings += _subnet_findings(answers, wish)
    return findings, next((each for each in answers.values() if isinstance(each, Retryable)), None)


def further(count: int, low: int | None, high: int | None, have: int) -> tuple[int, int]:
    """How many nodes come on top of `have` at once, and how many at most: for a count, or an autoscaler's bounds."""
    now = max(0, max(count, low or 0) - have)
    return now, max(now, (high or 0) - have)


def _pool_permission(rows: Any, cluster_id: str) -> list[Finding]:
    if _failed(rows):
        return [preflight.unknown("permission_unknown", "What the workspace's identity may do", rows.detail)]
    return preflight.permitted(rows, rights.POOL_ACTIONS, cluster_id, rights.CLUSTER_ROLE)


def _later(finding: Finding) -> Finding:
    """A quota in which only the nodes of a high load do not fit is a warning."""
    if finding.level != preflight.ERROR or finding.code not in QUOTAS:
        return finding
    words = f"{finding.message} No more nodes can come than fit."
    return replace(finding, code=f"{finding.code}_later", level=preflight.WARNING, message=words)


def ask(arm: Arm, reads: Mapping[str, Callable[[], Any]]) -> Answers:
    """The answers; only "denied", a finding, when Azure does not take the workspace's credential at all."""
    try:
        arm.reads.prepare()
        answers = gather(reads)
    except Problem as problem:
        answers = {"credential": problem}
    refused = answers.get("credential") or next((a for a in answers.values() if isinstance(a, ArmDenied)), None)
    if refused is None:
        return answers
    return {
        "denied": Finding(refused.code, preflight.ERROR, refused.detail, "Renew the workspace's credential for Azure.")
    }


def gather(reads: Mapping[str, Callable[[], Any]], seconds: float = CAP_SECONDS) -> Answers:
    """All answers side by side; a Problem or Retryable stands for one that was refused or did not come in time."""
    pool = ThreadPoolExecutor(max_workers=max(1, len(reads)), thread_name_prefix="preflight")
    asked = {name: pool.submit(copy_context().run, read) for name, read in reads.items()}  # on the operation's account
    wait(asked.values(), timeout=seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    answers: Answers = {}
    for name, future in asked.items():
        if not future.done() or future.cancelled():
            answers[name] = TooSlow(f"Azure did not answer within {seconds:g} s.")
            continue
        trouble = future.exception()
        if trouble is not None and not isinstance(trouble, Problem | Retryable):
            raise trouble
        answers[name] = future.result() if trouble is None else trouble
    return answers


def _size_reads(workspace: Workspace, arm: Arm, wish: Wish) -> dict[str, Callable[[], Any]]:
    region = wish.region
    reads: dict[str, Callable[[], Any]] = {
        "offers": lambda: _kept(workspace, f"offers:{region}", OFFERS_SECONDS, lambda: arm.reads.offers(region)),
        "usages": lambda: _short(workspace, f"usages:{wish.subscription_id}:{region}", lambda: arm.usages(region)),
    }
    if wish.version:
        reads["versions"] = lambda: _kept(
            workspace, f"versions:{region}", VERSIONS_SECONDS, lambda: [each.name for each in arm.versions(region)]
        )
    return reads


def _group(workspace: Workspace, arm: Arm, wish: Wish) -> Callable[[], Any]:
    """A group that is missing is looked for anew each time: people make it and try again."""
    key = _key(workspace, f"group:{wish.group_id}")

    def read() -> bool:
        if cache.get(key):
            return True
        is_there = arm.resource_group(wish.resource_group)
        if is_there:
            cache.set(key, True, SHORT_SECONDS)
        return is_there

    return read


def _short(workspace: Workspace, name: str, ask: Callable[[], Any]) -> Any:
    return _kept(workspace, name, SHORT_SECONDS, ask)


def _kept(workspace: Workspace, name: str, seconds: int, ask: Callable[[], Any]) -> Any:
    """One answer for many wishes: a hundred creates together ask once, not a hundred times."""
    key = _key(workspace, name)
    found = cache.get(key)
    if found is None:
        found = (ask(),)
        cache.set(key, found, seconds)
    return found[0]


def _key(workspace: Workspace, name: str) -> str:
    return f"preflight-1:{workspace.pk}:{name.lower().replace(' ', '')}"


def _failed(answer: Any) -> bool:
    return isinstance(answer, Problem | Retryable)


def _group_findings(answers: Answers, wish: Wish) -> list[Finding]:
    there, rows, findings = answers["group"], answers["rights"], []
    if _failed(there):
        findings.append(preflight.unknown("group_unknown", f"The resource group {wish.resource_group}", there.detail))
    else:
        findings += preflight.group(there, wish.resource_group, wish.region)
    if there is False or isinstance(rows, ArmNotFound):
        return findings
    if _failed(rows):
        what = "What the workspace's identity may do"
        return [*findings, preflight.unknown("permission_unknown", what, rows.detail)]
    return [*findings, *preflight.permitted(rows, rights.CREATE_ACTIONS, wish.group_id, rights.CLUSTER_ROLE)]


def _system_findings(answers: Answers, wish: Wish) -> list[Finding]:
    """Whether the size will do for the first pool; further ones may have smaller nodes."""
    offers = [] if _failed(answers["offers"]) else answers["offers"]
    size = _size_of([offer.size for offer in offers], wish.vm_size)
    return preflight.system_size(size, offers) if size else []


def size_findings(answers: Answers, wish: Wish) -> list[Finding]:
    """Size, zones and quotas."""
    offers, usages, findings = answers["offers"], answers["usages"], []
    if _failed(offers):
        findings.append(preflight.unknown("size_unknown", f"The size {wish.vm_size} in {wish.region}", offers.detail))
    else:
        findings += preflight.size(offers, wish.vm_size, wish.region, wish.options.get("zones") or ())
    if _failed(usages):
        return [*findings, preflight.unknown("quota_unknown", f"The vCPU quota of {wish.region}", usages.detail)]
    size = _size_of([] if _failed(offers) else [offer.size for offer in offers], wish.vm_size)
    if size is None:
        return findings
    rows = preflight.quota(
        usages, vcpus=size.vcpus, family=size.family, count=wish.count, name=size.name, region=wish.region
    )
    most = (wish.options.get("autoscaler") or {}).get("max_count", 0)
    return [*findings, *rows, *preflight.grown(rows, most, wish.count)]


def _size_of(live: list[VmSize], name: str) -> VmSize | None:
    found = next((size for size in live if size.name.lower() == name.lower()), None)
    if found is not None:
        return found
    try:
        return sizes.find(name)
    except (sizes.UnknownSize, sizes.FpgaSize):
        return None


def _version_findings(answers: Answers, wish: Wish) -> list[Finding]:
    offered: Any = answers.get("versions") or []
    if _failed(offered):
        return [preflight.unknown("version_unknown", f"Kubernetes {wish.version} in {wish.region}", offered.detail)]
    return preflight.version(offered, wish.version, wish.region)


def _identity_findings(answers: Answers, wish: Wish) -> list[Finding]:
    rows, identity = answers.get("identity"), str(wish.options.get("identity") or "")
    if not identity:
        return []
    if isinstance(rows, ArmNotFound):
        fix = "Give the resource id of a user-assigned identity, or leave it out for one of the cluster's own."
        return [Finding("identity_missing", preflight.ERROR, f"There is no identity {identity}.", fix)]
    if isinstance(rows, Problem | Retryable):
        what = f"Whether the cluster may have the identity {identity}"
        return [preflight.unknown("identity_unknown", what, rows.detail)]
    return preflight.permitted(rows or [], (rights.ASSIGN_ACTION,), identity, rights.ASSIGN_ROLE)


def _network_findings(answers: Answers, wish: Wish) -> list[Finding]:
    found, options = answers.get("subnet"), wish.options
    pods = "" if options.get("network_mode") == "flat" else preflight.POD_CIDR
    given = (options.get("service_cidr", ""), options.get("dns_service_ip", ""))
    findings = preflight.ranges(*given, None if _failed(found) else found, pods)
    return findings + (_subnet_findings(answers, wish) if options.get("subnet_id") else [])


def _subnet_findings(answers: Answers, wish: Wish) -> list[Finding]:
    found, rows, wanted = answers["subnet"], answers.get("join"), str(wish.options["subnet_id"])
    if _failed(found):
        return [preflight.unknown("subnet_unknown", f"The subnet {wanted}", found.detail)]
    is_flat = wish.options.get("network_mode") == "flat"
    most = max(wish.count, (wish.options.get("autoscaler") or {}).get("max_count", 0))  # Azure keeps room for all
    findings = preflight.subnet(found, wanted, region=wish.region, count=most, is_flat=is_flat)
    if found is None or rows is None:
        return findings
    if _failed(rows):
        return [*findings, preflight.unknown("join_unknown", f"Whether nodes may join {wanted}", rows.detail)]
    return [*findings, *preflight.permitted(rows, (rights.JOIN_ACTION,), wanted, rights.JOIN_ROLE)]


def wish_findings(*, workspace: Workspace, wish: Mapping[str, Any]) -> list[Finding]:
    """All findings about what a create call or form asks for: our own rules first, then what Azure says. At most 15 s.

    `wish` has the keyword arguments of `compute_target_create`.
    """
    wanted, rules = rule_findings(workspace=workspace, wish=wish)
    return rules + create_findings(workspace, queries.arm_of(workspace), wanted)[0]


def rule_findings(*, workspace: Workspace, wish: Mapping[str, Any]) -> tuple[Wish, list[Finding]]:
    """Every rule of ours that a wish breaks, not only the first; Azure is not asked."""
    problems: list[Problem] = []
    region = actions.region_of(wish.get("region") or workspace.region)
    purpose = Purpose(wish.get("purpose") or Purpose.FAST_PROD)
    given = wish.get("node_count")
    count = sizes.DEFAULT_COUNT[purpose] if given is None else int(given)
    name, version = str(wish["name"]), str(wish.get("kubernetes_version") or "")
    attempt(problems, lambda: options.check_name(name))
    attempt(problems, lambda: options.check_version(version))
    attempt(problems, lambda: options.check_tags(wish.get("tags") or {}))
    attempt(problems, lambda: actions.check_free(workspace, name, region))
    checked = attempt(problems, lambda: options.parse(wish.get("config") or {})) or options.Options()
    wanted = str(wish.get("vm_size") or sizes.DEFAULT_SIZE)
    size = attempt(problems, lambda: queries.size_known(workspace=workspace, name=wanted, region=region))
    if size is not None:
        attempt(problems, lambda: actions.check_nodes(size, count, purpose, checked.values.get("autoscaler")))
    group = str(wish.get("resource_group") or workspace.resource_group)
    found = Wish(
        workspace.subscription_id, group, region, size.name if size else wanted, max(count, 1), version, checked.values
    )
    return found, [preflight.rule(problem) for problem in problems]


Found = TypeVar("Found")


def attempt(problems: list[Problem], check: Callable[[], Found]) -> Found | None:
    """What a check gives; its problem goes to the list."""
    try:
        return check()
    except Problem as problem:
        problems.append(problem)
        return None
