"""Pages of compute: list, detail with the node slider, create, attach, detach, delete, kubeconfig."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from compute import actions, attaching, cost, forms, placed, pool_table, power, queries, sizes
from compute.actions import given as given_actions
from compute.steps import attach, given, leftovers, preflight
from compute.types import ComputeState, Purpose
from portal import operations, pages
from portal import queries as portal
from portal.problems import Problem
from portal.types import OperationKind, Role

SORTS = {"name": ("name", "pk"), "newest": ("-created_at", "-pk")}
SLIDER_TOP = 20
SHOWN = 20  # names of what runs on a cluster; the rest is a number
NO_BOUNDS = {"min_count": "", "max_count": ""}
SHORT_LIST = 120  # sizes; a longer list is cut to the usual families, and any other name can be typed
USUAL = {f"standard{name}family" for name in ("dv2", "dsv2", "dsv5", "dasv5", "esv5", "fsv2", "bs", "dsv3")}


@login_required
@require_safe
def compute_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """The compute targets of a workspace, what was asked for beside what is there."""
    home = portal.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    text, state = request.GET.get("q", "").strip(), request.GET.get("state", "")
    rows = queries.compute_targets(workspace=home)
    rows = rows.filter(name__icontains=text) if text else rows
    rows = rows.filter(state=state) if state else rows
    page = pages.listing(request, rows, sorts=SORTS)
    context = {
        "workspace": home, "page": page, "rows": [_line(target) for target in page.items], "q": text, "state": state,
        "states": ComputeState.values, "sort": request.GET.get("sort", "name"),
    }  # fmt: skip
    return render(request, "compute/list.html", context)


def _line(target: Any) -> dict[str, Any]:
    nodes = target.observed.get("nodes") or []
    ready, (wanted, vcpus) = sum(1 for node in nodes if node["ready"]), pool_table.totals(target)
    return {
        "target": target, "ready": ready, "wanted": wanted, "vcpus": vcpus, "seen": bool(target.observed_at),
        "differs": bool(target.observed_at) and ready != wanted and target.state == ComputeState.SUCCEEDED
        and not power.is_stopped(target),
        "cost": cost.of(target),
    }  # fmt: skip


@login_required
@require_safe
def compute(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """One compute target."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.READER)
    return render(request, "compute/detail.html", detail_context(target))


@login_required
@require_safe
def compute_live(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """The part of a target's page that moves: its nodes."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.READER)
    return render(request, "compute/_nodes.html", {"workspace": target.workspace, **_line(target)})


def detail_context(target: Any) -> dict[str, Any]:
    """What the page of a target shows."""
    floor = sizes.smallest_count(*queries.pools(target=target)) if target.purpose == Purpose.FAST_PROD else 1
    line, names = _line(target), queries.on_target(target=target)
    node = cost.estimate([cost.Paid(target.vm_size, 1)], region=target.region).usd_hour
    return {
        **line, "workspace": target.workspace, "op": pages.news(target.ref), "floor": floor,
        "top": max(SLIDER_TOP, 2 * target.node_count, floor), "on_it": names[:SHOWN],
        "on_it_more": max(0, len(names) - SHOWN),
        "usd_node": node,
        "drift": [{**row, "since": parse_datetime(row["since"])} for row in target.observed.get("drift") or []],
        **_powers(target), **_workloads(target), "ending": given.ending_words(target, timezone.now()),
        "pools": pools_with_use(target), "may_pool": queries.is_changeable(target) and not power.is_stopped(target),
        "options": [(key, value) for key, value in target.config.items() if value],
        "gateway": getattr(target, "gateway", None),
    }  # fmt: skip


def _workloads(target: Any) -> dict[str, Any]:
    """What others changed of what runs here."""
    found = queries.workload_drift(target=target)
    return {"gateway_drift": pages.since(found["gateway"]), "endpoints_drift": sorted(found["endpoints"])}


def _powers(target: Any) -> dict[str, Any]:
    """Power and autoscaler as they are, and which of them can change now."""
    may, stopped, bounds = queries.is_changeable(target), power.is_stopped(target), power.bounds_wanted(target)
    return {
        "is_stopped": stopped, "bounds": bounds, "bounds_typed": bounds or NO_BOUNDS, "may_power": may,
        "may_autoscale": may and not stopped,
        "may_scale": may and not stopped and not (bounds or power.bounds_seen(target)),
        "others_here": len(queries.attachments(target=target)),
    }  # fmt: skip


def pools_with_use(target: Any) -> list[dict[str, Any]]:
    """The node pools with the deployments that ask for each."""
    there = placed.on_pools(target=target)
    return [{**row, "deployments": there.get(row["name"], [])} for row in pool_table.rows(target)]


@login_required
@require_POST
def compute_scale(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to change the node count."""

    def act(target: Any) -> Any:
        data = forms.ScaleForm.parse(request.POST)
        return actions.compute_target_scale(target=target, actor=pages.actor(request), **data)

    return act_on(request, workspace, name, act)


@login_required
@require_POST
def compute_detach(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to forget a cluster."""

    def act(target: Any) -> Any:
        force = forms.confirmed(request.POST, target.name)
        return actions.compute_target_detach(target=target, actor=pages.actor(request), force=force)

    return act_on(request, workspace, name, act, leaves=True)


@login_required
@require_POST
def compute_adopt(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Take Azure's node count as the wanted one."""
    actor = pages.actor(request)
    target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    try:
        actions.compute_target_adopt(target=target, actor=actor)
    except Problem as problem:
        return pages.refused(request, "compute/detail.html", detail_context(target), problem)
    return redirect("compute", workspace, target.name)


@login_required
@require_safe
def compute_leftovers(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """What a detach would take out of the cluster, read from it now."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.OPERATOR)
    context = {"workspace": target.workspace, "target": target, "plan": leftovers.detach_plan(target)}
    page = "compute/_leftovers.html" if getattr(request, "htmx", False) else "compute/leftovers.html"
    return render(request, page, context)


@login_required
@require_POST
def compute_delete(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to delete a cluster in Azure too."""

    def act(target: Any) -> Any:
        force = forms.confirmed(request.POST, target.name)
        return actions.compute_target_delete(target=target, actor=pages.actor(request), force=force)

    return act_on(request, workspace, name, act, leaves=True)


def act_on(
    request: HttpRequest, workspace: str, name: str, act: Callable[[Any], Any], *, leaves: bool = False
) -> HttpResponse:
    """Do one thing to a target; then to its page, or to the operation's when the target goes."""
    target = queries.compute_target(actor=pages.actor(request), workspace=workspace, name=name, needs=Role.OPERATOR)
    try:
        op = act(target)
    except Problem as problem:
        target.refresh_from_db()
        return pages.refused(request, "compute/detail.html", detail_context(target), problem)
    pages.tell(request, op)
    return redirect("operation", workspace, op.pk) if leaves else redirect("compute", workspace, target.name)


@login_required
@require_POST
def compute_credentials(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """The kubeconfig as a file, fetched from Azure now and written to the history."""
    actor = pages.actor(request)
    target = queries.compute_target(actor=actor, workspace=workspace, name=name, needs=Role.OPERATOR)
    content = queries.credentials(target=target)
    actions.compute_target_reveal(target=target, actor=actor)
    disposition = f'attachment; filename="{target.name}.kubeconfig"'
    return HttpResponse(
        content,
        content_type="application/yaml",
        headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
    )


@login_required
@require_POST
def compute_kubeconfig(request: HttpRequest, workspace: str, name: str) -> HttpResponse:
    """Start to use a newer kubeconfig."""

    def act(target: Any) -> Any:
        newer = queries.given_cluster(forms.kubeconfig(request.POST, request.FILES))
        return given_actions.compute_target_replace_kubeconfig(target=target, actor=pages.actor(request), given=newer)

    return act_on(request, workspace, name, act)


@login_required
def compute_create(request: HttpRequest, workspace: str) -> HttpResponse:
    """The form that creates a cluster."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
    usual = operations.usual_total(OperationKind.COMPUTE_CREATE)
    context = {**sizes_context(home, request), "workspace": home, "typed": {}, "usual": usual}
    if request.method != "POST":
        return render(request, "compute/create.html", context)
    wish: dict[str, Any] = {}
    try:
        wish = forms.create_wish(request.POST)
        if request.POST.get("check"):
            findings = preflight.wish_findings(workspace=home, wish=wish)
            return render(request, "compute/create.html", {**context, "findings": findings, "typed": request.POST})
        queries.check_version(home, wish.get("kubernetes_version", ""), wish.get("region", ""))
        op = actions.compute_target_create(workspace=home, actor=actor, **wish)
    except Problem as problem:
        rules = preflight.rule_findings(workspace=home, wish=wish)[1] if wish else []
        found = rules if len(rules) > 1 else []  # one is what the problem says already
        return pages.refused(request, "compute/create.html", {**context, "findings": found}, problem)
    pages.tell(request, op)
    return redirect("compute", workspace, op.target_name)


def sizes_context(home: Any, request: HttpRequest, region: str = "") -> dict[str, Any]:
    """What a form's size picker and its sum need; the region is the form's unless it is given."""
    region = region or request.POST.get("region") or home.region
    found = queries.vm_sizes(home, region.lower().replace(" ", ""))
    chosen = request.POST.get("vm_size") or sizes.DEFAULT_SIZE
    rows = [
        {"size": size, "usd_hour": sizes.price(size=size, count=1, region=region)}
        for size in sorted(found, key=lambda size: (size.gpus > 0, size.vcpus, size.name))
        if len(found) <= SHORT_LIST or size.family.lower() in USUAL or size.gpus or size.name == chosen
    ]
    return {
        "sizes": rows, "chosen": chosen, "default_count": sizes.DEFAULT_COUNT[Purpose.FAST_PROD],
        "versions": queries.versions(home, region), "regions": sizes.REGIONS, "prices_from": sizes.PRICES_FROM,
        "top": SLIDER_TOP, "floor_vcpus": sizes.FLOOR,
    }  # fmt: skip


@login_required
def compute_attach(request: HttpRequest, workspace: str) -> HttpResponse:
    """The form that attaches a cluster."""
    actor = pages.actor(request)
    home = portal.workspace(actor=actor, slug=workspace, needs=Role.OPERATOR)
    by_kubeconfig = bool(request.POST.get("kubeconfig") or request.FILES)
    context: dict[str, Any] = {"workspace": home, "typed": {}, "by_kubeconfig": by_kubeconfig}
    if request.method != "POST":
        return render(request, "compute/attach.html", {**context, **_clusters(home)})
    try:
        wish = attaching.wish_of(forms.attach_wish(request.POST, request.FILES))
        if request.POST.get("check"):
            context |= {"findings": attach.attach_findings(workspace=home, wish=wish), "typed": request.POST}
            return render(request, "compute/attach.html", {**context, **_clusters(home)})
        op = attaching.attach(workspace=home, actor=actor, wish=wish)
    except Problem as problem:
        return pages.refused(request, "compute/attach.html", {**context, **_clusters(home)}, problem)
    pages.tell(request, op)
    return redirect("compute", workspace, op.target_name)


def _clusters(home: Any) -> dict[str, Any]:
    """What could be attached; why not, when Azure does not say."""
    known = {target.cluster_id.lower(): target.name for target in queries.compute_targets(workspace=home)}
    try:
        found = [{"view": view, "as": known.get(view.id.lower(), "")} for view in queries.clusters(home)]
    except Problem as problem:
        return {"clusters": [], "unlisted": problem.detail}
    return {"clusters": found}
