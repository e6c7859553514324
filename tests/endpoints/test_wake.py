"""After a start, what the cluster served is waited for patiently."""

from __future__ import annotations

import pytest

from compute.models import ComputeTarget
from endpoints.models import Gateway
from endpoints.steps import wake
from endpoints.types import GatewayState
from portal.models import Operation
from portal.types import ACTIVE_STATES
from tests import page_rows
from tests.compute.conftest import azure, call, home, people, run_all, step_once

__all__ = ["azure", "call", "home", "people", "run_all"]

ONE = "compute-targets/prod-1/"
FLAPPING = (503, {"kind": "Status", "message": "etcd is starting"})


@pytest.fixture
def waking(azure, call, run_all):  # noqa: F811
    """A start that has come to its last step, of a cluster that serves."""
    call("operator", "post", "compute-targets/", {"name": "prod-1"})
    run_all()
    target = ComputeTarget.objects.get()
    call("operator", "post", f"{ONE}stop/", {})
    run_all()
    page_rows.endpoint(target, "iris")
    Gateway.objects.update_or_create(compute_target=target, defaults={"state": GatewayState.READY})
    call("operator", "post", f"{ONE}start/", {})
    op = Operation.objects.get(state__in=ACTIVE_STATES)
    while op.step < 3:
        step_once(op)
    return op


def test_an_api_server_that_flaps_after_a_start_is_waited_for(azure, waking):  # noqa: F811
    azure.fail("kube", *[FLAPPING] * 8)
    for _ in range(8):
        step_once(waking)
    assert (waking.state, waking.step, waking.attempts) == ("Running", 3, 0)
    assert "etcd is starting" in waking.note


def test_one_that_flaps_longer_than_the_patience_is_a_warning(azure, waking, run_all, monkeypatch):  # noqa: F811
    azure.fail("kube", *[FLAPPING] * 3)
    step_once(waking)
    monkeypatch.setattr(wake, "PATIENCE", 0)
    step_once(waking)
    run_all()
    waking.refresh_from_db()
    assert (waking.state, ComputeTarget.objects.get().state) == ("Succeeded", "Succeeded")
    assert "etcd is starting" in waking.warnings[-1]
