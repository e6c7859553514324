"""Testing a workspace's connection: what is permitted and what is missing, on a real pretend ARM with rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from compute import queries, rights
from compute.arm import ArmRefused, session
from compute.steps.connection import connection_findings
from portal.models import Workspace
from tests import factories
from tests.sandbox.arm.cloud import CLIENT, GROUP, SECRET, SUB, Cloud

ON_SUB, ON_GROUP = f"/subscriptions/{SUB}", f"/subscriptions/{SUB}/resourceGroups/{GROUP}"
ROLES = rights.custom_roles(SUB, GROUP)
LEAST = [{"scope": role["AssignableScopes"][0], "actions": role["Actions"]} for role in ROLES]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: Any) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud")).start()
    yield made
    made.stop()


@pytest.fixture
def home(db: Any, settings: Any, cloud: Cloud) -> Workspace:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    session.renewable.cache_clear()
    queries._arm.cache_clear()
    made = factories.workspace(
        factories.team(), subscription_id=SUB, resource_group=GROUP, arm_endpoint=cloud.secure,
        arm_ca_file=str(cloud.folder / "ca.pem"),
    )  # fmt: skip
    return given(made, cloud)


def given(home: Workspace, cloud: Cloud, **more: str) -> Workspace:
    """The workspace with a client secret for the sandbox."""
    ids = {"tenant_id": cloud.tenant, "client_id": CLIENT, "authority_host": cloud.secure}
    home.arm_credential = json.dumps({"kind": "client_secret", **ids, "client_secret": SECRET, **more})
    return home


def of(home: Workspace, level: str) -> list[Any]:
    return [each for each in connection_findings(workspace=home) if each.level == level]


def test_the_custom_roles_are_all_that_is_needed(home, cloud):
    cloud.principal(*LEAST)
    found = connection_findings(workspace=home)
    assert [each.message for each in found if each.level != "ok"] == []
    assert {each.code for each in found} == {"token", "subscription", "resource_group", "permitted"}
    assert len(found) == 3 + len(rights.ON_SUBSCRIPTION) + len(rights.ON_GROUP)


@pytest.mark.parametrize("deed", rights.ON_GROUP[1:], ids=lambda deed: deed.name)
def test_each_thing_that_is_not_permitted_is_named_with_role_scope_and_command(home, cloud, deed):
    actions = [action for action in LEAST[1]["actions"] if action not in deed.actions[-1:]]
    cloud.principal(LEAST[0], {"scope": ON_GROUP, "actions": actions}, {"scope": ON_GROUP, "actions": []})
    (found,) = [each for each in connection_findings(workspace=home) if each.level != "ok"]
    assert found.level == ("warning" if deed.is_optional else "error")
    assert found.message.startswith(f"Missing: {deed.actions[-1]} on {ON_GROUP}.")
    command = f'az role assignment create --assignee {CLIENT} --role "{deed.role}" --scope {ON_GROUP}'
    assert command in found.fix


def test_with_the_custom_roles_a_provider_can_be_registered(home, cloud):
    cloud.principal(*LEAST)
    cloud.admin("PUT", "arm/providers/Microsoft.Network", {"state": "NotRegistered"})
    queries.arm_of(home).register("Microsoft.Network")
    place = f"{ON_SUB}/providers/Microsoft.Network"
    assert cloud.ask("GET", place).json()["registrationState"] in ("Registering", "Registered")


def test_without_the_right_to_register_providers_a_warning_tells_the_other_way(home, cloud):
    actions = [action for action in LEAST[0]["actions"] if not action.endswith("/register/action")]
    cloud.principal({"scope": ON_SUB, "actions": actions}, LEAST[1])
    (found,) = [each for each in connection_findings(workspace=home) if each.level != "ok"]
    assert (found.level, found.facts["deed"]) == ("warning", "register resource providers")
    assert "az provider register --namespace Microsoft.ContainerService" in found.fix
    with pytest.raises(ArmRefused, match="register/action"):
        queries.arm_of(home).register("Microsoft.Network")


def test_what_a_role_takes_back_is_missing(home, cloud):
    write = "Microsoft.ContainerService/managedClusters/write"
    cloud.principal(LEAST[0], {"scope": ON_GROUP, "actions": ["*"], "notActions": [write]})
    (found,) = of(home, "error")
    assert found.facts["missing"] == [write]


def test_a_reader_may_read_and_nothing_else(home, cloud):
    cloud.principal({"scope": ON_SUB, "role": "Reader"})
    names = {each.facts["deed"] for each in of(home, "error")}
    assert names == {
        "create, change and delete clusters", "scale node pools", "start, stop and abort", "get the kubeconfig",
    }  # fmt: skip


def test_a_registry_makes_builds_a_must(home, cloud):
    cloud.principal(LEAST[0], {"scope": ON_GROUP, "actions": ["Microsoft.ContainerService/*", "*/read"]})
    home.registry = "mine"
    assert [each.facts["deed"] for each in of(home, "error")] == ["build images"]


def test_no_role_at_all_means_that_the_subscription_is_not_visible(home, cloud):
    cloud.principal()
    last = connection_findings(workspace=home)[-1]
    assert (last.code, last.level) == ("subscription_not_visible", "error")


def test_a_group_that_is_not_there_is_named_with_the_command_that_makes_it(home, cloud):
    cloud.principal({"scope": ON_SUB, "role": "Owner"})
    home.resource_group = "nowhere"
    (found,) = of(home, "error")
    assert (found.code, "az group create --name nowhere" in found.fix) == ("resource_group_missing", True)


def test_a_wrong_secret_is_told_in_entras_words_with_what_to_do(home, cloud):
    cloud.principal(*LEAST)
    (found,) = connection_findings(workspace=given(home, cloud, client_secret="wrong-one"))
    assert (found.code, found.level) == ("token_refused", "error")
    assert "AADSTS7000215: Invalid client secret provided" in found.message
    assert "value (not its id)" in found.fix
    assert "wrong-one" not in json.dumps(found.as_dict())


def test_a_secret_that_was_replaced_is_told_although_a_token_of_it_is_still_at_hand(home, cloud):
    cloud.principal(*LEAST)
    row = given(home, cloud)
    assert not [each for each in connection_findings(workspace=row) if each.level == "error"]
    cloud.admin("PUT", f"principals/{CLIENT}", {"secret": "another one"})
    (found,) = connection_findings(workspace=row)
    assert found.code == "token_refused"


def test_an_authority_that_is_away_is_told_within_seconds(home, cloud):
    (found,) = connection_findings(workspace=given(home, cloud, authority_host="https://127.0.0.1:9"))
    assert (found.level, found.code) == ("error", "authority_unreachable")


def test_an_address_inside_a_network_is_refused(home, settings):
    settings.OUTBOUND_ALLOW = []
    (found,) = connection_findings(workspace=home)
    assert (found.level, found.code) == ("error", "address_refused")


@pytest.mark.parametrize(("part", "number"), [("subscription", 0), ("group", 1)])
def test_the_command_prints_the_role_that_was_proved_enough(capsys, part, number):
    call_command("azure_role", part, subscription=SUB, resource_group=GROUP)
    assert json.loads(capsys.readouterr().out) == ROLES[number]
