"""Power and the autoscaler on a cluster's page."""

from __future__ import annotations

import pytest
from django.test import Client

from compute.models import ComputeTarget
from portal.models import Operation
from tests import page_rows

ONE = "/w/lab/compute/prod-1/"


@pytest.fixture
def target(created):
    return created("prod-1")


@pytest.fixture
def visit(people, home):
    """visit("operator", path, data) -> the page's HTML after redirects."""

    def run(who, path="", data=None):
        client = Client()
        client.force_login(people[who])
        answer = client.get(ONE) if data is None else client.post(f"{ONE}{path}/", data, follow=True)
        return answer.content.decode()

    return run


def test_a_page_stops_starts_and_says_that_it_is_stopped(visit, run_all, target):
    assert "Stop…" in visit("operator")
    assert "Type prod-1 to confirm; you typed &#x27;&#x27;." in visit("operator", "stop", {"confirm": ""})
    assert not Operation.objects.filter(kind="compute.stop").exists()
    visit("operator", "stop", {"confirm": "prod-1"})
    run_all()
    html = visit("operator")
    assert all(each in html for each in ("! Stopped", ">Start</button>", "It can be scaled when it runs."))
    assert "The cluster is stopped: it has no node until it is started." in html
    assert not [each for each in ("Stop…", "Deploy here", "Not as wanted", "Add a node pool") if each in html]
    visit("operator", "start", {})
    run_all()
    assert "! Stopped" not in visit("operator")


def test_a_page_names_what_stops_answering_and_says_the_apis_sentence(visit, call, target):
    page_rows.endpoint(target, "iris")
    assert "Stop it although iris stops answering" in visit("operator")
    refused = visit("operator", "stop", {"confirm": "prod-1"})
    said = call("operator", "post", "compute-targets/prod-1/stop/", {}).data["detail"]
    assert said == "iris stops answering while prod-1 is stopped. Force it to stop all the same."
    assert said in refused
    visit("operator", "stop", {"confirm": "prod-1", "force": "on"})
    assert Operation.objects.filter(kind="compute.stop").count() == 1


def test_a_reader_sees_power_and_no_button(visit, target):
    html = visit("reader")
    assert 'id="power-h"' in html
    assert not [each for each in ("Stop…", "Let the load choose…") if each in html]


def test_a_page_sets_and_switches_off_the_autoscaler(visit, run_all, target):
    visit("operator", "autoscaler", {"min_count": "3", "max_count": "6", "generation": "1"})
    run_all()
    html = visit("operator")
    assert "The cluster's autoscaler keeps 3 to 6 nodes by itself." in html
    visit("operator", "autoscaler", {"min_count": "", "max_count": "", "count": "4", "generation": "2"})
    run_all()
    now = ComputeTarget.objects.get()
    assert (now.config, now.node_count, now.state) == ({}, 4, "Succeeded")


def test_a_page_shows_the_refusal_of_an_autoscaler_with_what_was_typed(visit, target):
    html = visit("operator", "autoscaler", {"min_count": "1", "max_count": "6", "generation": "1"})
    assert "The smallest count of Standard_D3_v2 that passes is 3." in html
    assert 'name="max_count" min="1" max="1000" value="6"' in html


@pytest.mark.parametrize(
    ("code", "configured", "there", "buttons"),
    [
        ("power_state", "Running", "Stopped", ("Take over Azure's stopped", "Start it again")),
        ("autoscaler", "off", "3 to 6", ("Take over Azure's 3 to 6", "Set it back to off")),
    ],
)
def test_what_others_changed_can_be_taken_over_or_set_back(code, configured, there, buttons, visit, target):
    row = {"code": code, "configured": configured, "azure": there, "message": "m", "since": "2026-01-01T00:00:00+00:00"}
    ComputeTarget.objects.update(observed={**target.observed, "drift": [row]})
    html = visit("operator").replace("&#x27;", "'")
    assert all(each in html for each in buttons)
