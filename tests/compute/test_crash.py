"""A worker that dies at any step: the operation ends rightly, and Azure and the cluster see each change once."""

from __future__ import annotations

from collections import Counter

import pytest
from django.utils import timezone

from compute.models import ComputeTarget
from portal import operations
from portal.models import Operation
from portal.operations import engine
from portal.operations.plans import plan_of
from portal.types import ACTIVE_STATES, OperationKind

KINDS = {
    OperationKind.COMPUTE_CREATE: 1,
    OperationKind.COMPUTE_SCALE: 1,
    OperationKind.COMPUTE_STOP: 1,
    OperationKind.COMPUTE_START: 1,
    OperationKind.COMPUTE_AUTOSCALER: 1,
    OperationKind.COMPUTE_ATTACH: 0,
    OperationKind.COMPUTE_DELETE: 1,
    OperationKind.COMPUTE_DETACH: 0,
}


CHANGES = ("PUT", "DELETE", "STARTING", "STOPPING")


POWER = {
    OperationKind.COMPUTE_STOP: ("stop", {}),
    OperationKind.COMPUTE_START: ("start", {}),
    OperationKind.COMPUTE_AUTOSCALER: ("autoscaler", {"min_count": 3, "max_count": 6}),
}


class Killed(BaseException):
    """Nothing of ours catches this, as nothing catches SIGKILL."""


def begin(kind, call, azure, run_all, created):
    """Start an operation of that kind; what went before is not counted."""
    if kind == OperationKind.COMPUTE_ATTACH:
        azure.cluster("theirs")
        call("operator", "post", "compute-targets/attach/", {"name": "one", "cluster_name": "theirs"})
        return
    if kind == OperationKind.COMPUTE_CREATE:
        call("operator", "post", "compute-targets/", {"name": "one"})
        return
    created("one")
    if kind == OperationKind.COMPUTE_START:
        call("operator", "post", "compute-targets/one/stop/", {})
        run_all()
    azure.changes.clear()
    if kind in POWER:
        path, body = POWER[kind]
        call("operator", "post", f"compute-targets/one/{path}/", body)
    elif kind == OperationKind.COMPUTE_SCALE:
        call("operator", "post", "compute-targets/one/scale/", {"node_count": 5})
    elif kind == OperationKind.COMPUTE_DETACH:
        call("operator", "post", "compute-targets/one/detach/", {})
    else:
        call("operator", "delete", "compute-targets/one/")


@pytest.mark.parametrize("moment", ["before the outside call", "between call and commit", "after the commit"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_worker_killed_at_every_step_ends_rightly_with_each_change_once(
    kind, moment, call, azure, run_all, created, monkeypatch
):
    begin(kind, call, azure, run_all, created)
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    names = {
        "before the outside call": "_run", "between call and commit": "_go_on", "after the commit": "ring",
    }  # fmt: skip
    killed: set[int] = set()
    real = getattr(engine, names[moment])

    def deadly(*args, **kwargs):
        if args[0].step not in killed:
            killed.add(args[0].step)
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(engine, names[moment], deadly)
    for _ in range(100):
        if not Operation.objects.filter(pk=op.pk, state__in=ACTIVE_STATES).exists():
            break
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now(), leased_until=None)
        try:
            operations.advance(str(op.pk))
        except Killed:
            continue
    op.refresh_from_db()
    assert op.state == "Succeeded", op.error
    least = range(len(plan_of(kind).steps)) if moment != "after the commit" else range(1, len(plan_of(kind).steps))
    assert killed >= set(least)
    counts = Counter(verb for verb, _ in azure.changes if verb in CHANGES)
    assert sum(counts.values()) == KINDS[kind]
    gone = kind in (OperationKind.COMPUTE_DELETE, OperationKind.COMPUTE_DETACH)
    assert ComputeTarget.objects.filter(state="Succeeded").exists() is not gone
    assert ComputeTarget.objects.exists() is not gone


@pytest.mark.parametrize(
    "kind", [OperationKind.COMPUTE_CREATE, OperationKind.COMPUTE_SCALE, OperationKind.COMPUTE_DELETE, *POWER]
)
def test_a_worker_killed_before_it_could_note_azures_answer_looks_instead_of_asking_again(
    kind, call, azure, run_all, created, monkeypatch
):
    begin(kind, call, azure, run_all, created)
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    real, deaths = operations.remember, []

    def deadly(*args, **kwargs):
        if not deaths:
            deaths.append(1)
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(operations, "remember", deadly)
    for _ in range(20):
        Operation.objects.filter(pk=op.pk).update(due_at=timezone.now(), leased_until=None)
        try:
            operations.advance(str(op.pk))
        except Killed:
            break
    Operation.objects.filter(pk=op.pk).update(leased_until=None)
    run_all()
    op.refresh_from_db()
    assert (op.state, deaths) == ("Succeeded", [1])
    assert len([verb for verb, _ in azure.changes if verb in CHANGES]) == 1
