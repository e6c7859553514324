"""docs/azure.md says what is so: roles, addresses, bodies, commands, settings, prices, and the Bicep file."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.containerservice import models as sdk
from django.core.management import load_command_class
from django.urls import resolve
from rest_framework import serializers

from compute import attach_checks, cost, rights, sizes
from compute.api import pools, power, wishes
from compute.api.checks import AttachPreflightIn
from compute.sandbox.arm import cluster_body
from endpoints.api import shapes
from portal.azure_api import SettingsIn

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "azure.md").read_text()
SHELL = "\n".join(re.findall(r"^```sh(?: rest)?\n(.*?)^```", TEXT, re.S | re.M)).replace("\\\n", " ")
CALLS = re.findall(r"\b(call|json) (GET|POST|PATCH|DELETE) '?(/[^\s'|]*)", SHELL)
SUB, GROUP = "11111111-2222-3333-4444-555555555555", "slipway"
BODIES: dict[str, Any] = {
    "/": SettingsIn,
    "/compute-targets/": wishes.CreateIn,
    "/compute-targets/attach/": wishes.AttachIn,
    "/compute-targets/NAME/scale/": wishes.ScaleIn,
    "/compute-targets/NAME/detach/": wishes.DetachIn,
    "/compute-targets/NAME/stop/": power.StopIn,
    "/compute-targets/NAME/start/": power.StartIn,
    "/compute-targets/NAME/pools/": pools.PoolIn,
    "/compute-targets/NAME/pools/NAME/scale/": pools.PoolScaleIn,
}
MODELS = {
    "identity": sdk.ManagedClusterIdentity, "sku": sdk.ManagedClusterSKU,
    "properties": sdk.ManagedClusterProperties, "aadProfile": sdk.ManagedClusterAADProfile,
    "networkProfile": sdk.ContainerServiceNetworkProfile, "agentPoolProfiles": sdk.ManagedClusterAgentPoolProfile,
}  # fmt: skip


def block(kind: str, number: int = 0) -> str:
    """One fenced block of the document."""
    return str(re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.S | re.M)[number])


@pytest.mark.parametrize("number", [0, 1])
def test_the_roles_are_those_that_the_command_prints(number: int) -> None:
    assert json.loads(block("json", number)) == rights.custom_roles(SUB, GROUP)[number]
    assert f'"{rights.custom_roles(SUB, GROUP)[number]["Name"]}"' in SHELL


def test_the_providers_and_built_in_roles_are_those_that_the_connection_test_names() -> None:
    (listed,) = re.findall(r"for each in (.*?); do", SHELL)
    assert sorted(listed.split()) == sorted(rights.PROVIDERS)
    for role in (rights.CLUSTER_ROLE, rights.ATTACH_ROLE, rights.INSIDE_ROLE, rights.JOIN_ROLE, rights.ASSIGN_ROLE):
        assert role in TEXT


def test_enough_calls_are_found_for_the_next_tests_to_mean_something() -> None:
    assert len(CALLS) > 25
    assert {method for _, method, _ in CALLS} == {"GET", "POST", "PATCH", "DELETE"}


@pytest.mark.parametrize(("method", "path"), sorted({(method, path) for _, method, path in CALLS}))
def test_every_address_answers_to_its_method(method: str, path: str) -> None:
    view: Any = resolve(f"/api/v1/workspaces/main{path.partition('?')[0]}").func
    assert hasattr(view.cls, method.lower()), path


def test_the_page_is_there() -> None:
    (page,) = set(re.findall(r"`(/w/main/[^`]*)`", TEXT))
    assert resolve(page).url_name == "settings-azure"


def bodies() -> list[tuple[str, Any]]:
    """(path, body) of every JSON that is written out whole."""
    text = SHELL.replace("'\"$group\"'", GROUP).replace("'\"$subscription\"'", SUB)
    found = re.findall(r"\bjson \w+ (/\S*) '(\{.*?\})'(?:\s|$)", text)
    found += [("/compute-targets/", wish) for wish in re.findall(r"^wish='(.*)'$", text, re.M)]
    return [(path, json.loads(body)) for path, body in found]


@pytest.mark.parametrize(("path", "body"), bodies())
def test_every_body_has_only_members_that_the_door_takes(path: str, body: dict[str, Any]) -> None:
    if path == "/compute-targets/preflight/":
        shape: Any = AttachPreflightIn if "attach" in body else wishes.CreateIn
    elif path in ("/azure/test/", "/environments/"):
        return
    else:
        shape = BODIES[re.sub(r"/(tour|theirs|extra)/", "/NAME/", re.sub(r"/(tour|theirs)/", "/NAME/", path))]
    shape.parse(body)


def test_the_endpoint_of_the_story_is_taken() -> None:
    (wanted,) = re.findall(r"<<'END'\n(.*?)^END$", SHELL, re.S | re.M)
    shapes.EndpointIn.parse(json.loads(wanted))


def test_a_body_with_a_member_too_many_would_be_noticed() -> None:
    with pytest.raises(Exception, match="Unknown"):
        wishes.ScaleIn.parse({"node_count": 3, "nodes": 4})
    assert issubclass(wishes.ScaleIn, serializers.Serializer)


def test_every_command_of_the_portal_has_the_options_that_are_given() -> None:
    found = re.findall(r"manage\.py (\w+)([^|>\n]*)", SHELL)
    assert {name for name, _ in found} == {"azure_role", "start_workspace", "token"}
    for name, words in found:
        command = load_command_class("portal", name)
        given = ["group" if word == "$part" else word for word in shlex.split(words)]
        command.create_parser("manage.py", name).parse_args(given)


def test_every_setting_is_in_the_example_file() -> None:
    known = (ROOT / ".env.example").read_text()
    names = set(re.findall(r"\bSLIPWAY_[A-Z_]+", TEXT)) - {"SLIPWAY_ADMIN_PASSWORD"}
    assert len(names) >= 5
    assert all(name in known for name in names), names
    assert "SLIPWAY_ADMIN_PASSWORD" in (ROOT / "portal/management/commands/start_workspace.py").read_text()


def test_the_prices_are_those_of_the_table_with_its_date() -> None:
    rows = re.findall(r"^\| (\d+) × (\w+) \| \$([\d.,]+) \| \$([\d.,]+) \|$", TEXT, re.M)
    assert len(rows) == 5
    for count, size, hour, month in rows:
        told = cost.estimate([cost.Paid(size, int(count))], region="westeurope")
        assert (f"{told.usd_hour:,.2f}", f"{told.usd_month:,.2f}") == (hour, month), size
    assert f"prices of {sizes.PRICES_FROM}" in TEXT
    assert all(region in TEXT for region in sizes.REGIONS)


def test_the_findings_that_are_named_exist() -> None:
    source = Path(attach_checks.__file__).read_text()
    for code in ("permission_missing_inside", "sign_in_refused", "private_cluster"):
        assert f"`{code}`" in TEXT
        assert f'"{code}"' in source


def bicep() -> dict[str, Any]:
    """The cluster of the Bicep file as JSON, its parameters filled in."""
    text = block("bicep")
    values = {"name": "theirs", "location": "westeurope", "vmSize": "Standard_D4s_v5", "nodeCount": 3}
    (inner,) = re.findall(r"^resource cluster '[^']*' = (\{.*?^\})", text, re.S | re.M)

    def value(found: re.Match[str]) -> str:
        word = found[2]
        told = json.dumps(values[word]) if word in values else word.replace("'", '"')
        return f'"{found[1]}": {told},'

    plain = re.sub(r"(\w+): ([^\s{\[]+)$", value, inner, flags=re.M)
    plain = re.sub(r"(\w+): ([{\[])$", r'"\1": \2', plain, flags=re.M)
    plain = re.sub(r"([}\]])$", r"\1,", plain, flags=re.M)
    found: dict[str, Any] = json.loads(re.sub(r",(\s*[}\]])", r"\1", plain).rstrip(","))
    return found


def check(given: dict[str, Any], model: Any) -> None:
    model({})  # the SDK lists a model's fields when the first is made
    known = {field._rest_name for field in model._attr_to_rest_field.values()}
    assert set(given) <= known, (model, set(given) - known)
    for name, value in given.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                check(part, MODELS[name])


def test_azures_sdk_knows_every_property_of_the_bicep_file() -> None:
    check(bicep(), sdk.ManagedCluster)


def test_the_sandbox_makes_what_the_bicep_file_asks_for() -> None:
    asked = bicep()
    made = cluster_body.fill(SUB, GROUP, asked.pop("name"), asked, None, "u")["properties"]
    assert made["disableLocalAccounts"] is True
    assert made["aadProfile"]["enableAzureRBAC"] is True
    assert made["networkProfile"]["networkPluginMode"] == "overlay"
    assert (made["agentPoolProfiles"][0]["count"], made["agentPoolProfiles"][0]["vmSize"]) == (3, "Standard_D4s_v5")
