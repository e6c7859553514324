"""The gateway's files and objects: golden files, order, strict schemas."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from compute.cluster import validate
from compute.names import gateway_namespace
from endpoints import gateway
from endpoints.gateway import routes
from endpoints.types import AuthMode
from tests.endpoints.box import view

GOLDEN = Path(__file__).parent / "golden"


def picture(**more: Any) -> gateway.GatewayView:
    split = (
        gateway.VersionView("v1", "ws-a/slw-v1", 9000, timeout_ms=60000, concurrency=1, queue=32),
        gateway.VersionView("v2", "ws-a/slw-v2", 1000, timeout_ms=5000, concurrency=2, queue=64),
        gateway.VersionView("v3", "ws-b/slw-v3", 0, is_routed=False),
    )
    iris = gateway.EndpointView(
        "iris", AuthMode.KEY, "slipway:endpoint:1", (("primary", "K" * 32), ("secondary", "L" * 32)), split
    )
    tokens = gateway.EndpointView("tokens", AuthMode.TOKEN, "slipway:endpoint:2", (), (split[0],))
    free = gateway.EndpointView("free", AuthMode.NONE, "slipway:endpoint:3", (), (replace(split[0], weight=10000),))
    jwks = '{"keys":[{"crv":"Ed25519","kid":"k","kty":"OKP","x":"AAAA"}]}'
    given = {"jwks": jwks, "tls_certificate": "CERT", "tls_key": "KEY", "namespaces": ("ws-b", "ws-a"), **more}
    return view(iris, tokens, free, **given)


def golden(name: str, content: Any) -> None:
    """Compare with the stored text; write it anew by deleting the file and running the test twice."""
    path = GOLDEN / name
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{name} was missing and is written now: look at it and run again")
    assert text == path.read_text()


@pytest.mark.parametrize("name", ["cds.json", "rds.json", "ecds.jwt.json", "companion.json"])
def test_the_config_files_are_as_reviewed(name: str) -> None:
    golden(name, json.loads(gateway.build(picture(), 7, {}).config[name]))


@pytest.mark.parametrize("name", ["ecds.keys.json", "rds.probe.json", "sds.json"])
def test_the_secret_files_are_as_reviewed(name: str) -> None:
    golden(name, json.loads(gateway.build(picture(), 7, {}).secret[name]))


def test_the_objects_are_as_reviewed() -> None:
    shown = picture(replicas=2)
    objects = gateway.install(shown, gateway.Files({"cds.json": "…"}, {"tls.key": "…"}, {}))
    boot = next(item for item in objects if item["metadata"]["name"] == "gateway-boot")
    boot["data"]["companion.py"] = "…"
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    deployment["spec"]["template"]["metadata"]["annotations"]["slipway.dev/boot"] = "…"
    golden("objects.json", objects)


OPTIONS: dict[str, list[Any]] = {
    "is_internal": [True, False], "subnet": ["", "gateways"], "is_https_only": [True, False], "replicas": [1, 2],
    "tls_certificate": ["", "CERT"], "api_ports": [(443,), (6443, 443)],
    "dns_label": ["", "scores"], "ip_name": ["", "scores-ip"],
}  # fmt: skip


@cache
def everything() -> list[dict[str, Any]]:
    """The objects of every combination of options, equal ones once."""
    found = {}
    for values in itertools.product(*OPTIONS.values()):
        shown = picture(**dict(zip(OPTIONS, values, strict=True)))
        for item in gateway.install(shown, gateway.build(shown, 1, {})):
            found[json.dumps(item, sort_keys=True)] = item
    return list(found.values())


@pytest.mark.parametrize("minor", range(29, 36))
def test_every_object_passes_the_strict_schemas_in_every_combination_of_options(minor: int) -> None:
    for item in everything():
        validate(item, f"1.{minor}")


def test_a_gateway_may_call_its_replicas_and_the_api_server_and_nothing_else() -> None:
    objects = gateway.install(picture(api_ports=(8443,)), gateway.Files({}, {}, {}))
    (policy,) = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    replicas, server = policy["egress"]
    assert replicas["to"][0]["podSelector"]["matchLabels"]["slipway.dev/workspace"] == "ws"
    assert [port["port"] for rule in (replicas, server) for port in rule["ports"]] == [5001, 8443]


def test_azures_load_balancer_is_told_what_was_asked_for() -> None:
    def notes(**more: Any) -> dict[str, str]:
        objects = gateway.install(picture(**more), gateway.Files({}, {}, {}))
        service = next(
            item for item in objects if item["kind"] == "Service" and item["metadata"]["name"] == gateway.COMPONENT
        )
        start = "service.beta.kubernetes.io/azure-"
        return {name.removeprefix(start): text for name, text in service["metadata"]["annotations"].items()}

    usual = {"load-balancer-tcp-idle-timeout": "30"}
    assert notes() == usual
    assert notes(is_internal=True, subnet="s", ip="10.0.0.9") == {
        **usual, "load-balancer-internal": "true", "load-balancer-internal-subnet": "s",
        "load-balancer-ipv4": "10.0.0.9",
    }  # fmt: skip
    assert notes(dns_label="scores", ip_name="scores-ip", ip_resource_group="network") == {
        **usual, "dns-label-name": "scores", "pip-name": "scores-ip", "load-balancer-resource-group": "network",
    }  # fmt: skip


def test_the_same_rows_give_the_same_bytes_and_keep_their_versions() -> None:
    first = gateway.build(picture(), 1, {})
    assert gateway.build(picture(), 2, first.versions) == first


def test_version_info_is_counter_and_hash() -> None:
    versions = gateway.build(picture(), 12, {}).versions
    assert all(text.startswith("12-") and len(text) == 15 for text in versions.values())


def test_another_counter_is_taken_for_changed_files_only() -> None:
    first = gateway.build(picture(), 1, {}).versions
    second = gateway.build(picture(namespaces=("ws-a",)), 2, first).versions
    assert {name for name in first if first[name] != second[name]} == {"rest"}


@pytest.mark.parametrize(
    ("seen", "late"),
    [
        ("7-abc", []),
        ("8-abc", []),
        ("10-abc", []),
        ("6-abc", ["rds.json"]),
        ("", ["rds.json"]),
        ("rubbish", ["rds.json"]),
    ],
)
def test_a_gateway_is_late_while_it_shows_an_older_counter(seen: str, late: list[str]) -> None:
    assert gateway.expected({"rds.json": "7-abc"}, {"http.scoring.rds.scoring.version_text": seen}) == late


def test_no_secret_is_in_the_config_map_or_in_a_command() -> None:
    shown = picture()
    objects = gateway.install(shown, gateway.build(shown, 1, {}))
    open_text = json.dumps([item for item in objects if item["kind"] != "Secret"])
    assert not any(secret in open_text for secret in ("K" * 32, "L" * 32, shown.probe_secret))
    assert "K" * 32 not in repr(shown)


def test_all_mounts_are_below_the_working_directory_and_paths_are_relative() -> None:
    shown = picture()
    deployment = next(
        item for item in gateway.install(shown, gateway.build(shown, 1, {})) if item["kind"] == "Deployment"
    )
    pod = deployment["spec"]["template"]["spec"]
    for container in pod["containers"] + pod["initContainers"]:
        assert all(mount["mountPath"].startswith(container["workingDir"] + "/") for mount in container["volumeMounts"])
    assert '"/srv' not in json.dumps(gateway.build(shown, 1, {}).config)


def test_a_version_that_is_loaded_only_has_a_cluster_and_no_route() -> None:
    files = gateway.build(picture(), 1, {})
    assert "iris/v3" in files.config["cds.json"]
    assert "iris/v3" not in files.config["rds.json"]


def test_a_forced_version_comes_before_the_split() -> None:
    table = routes.route_table(picture().endpoints)["virtual_hosts"][0]["routes"]
    iris = [route for route in table if route["match"].get("path") == "/api/v1/service/iris/score"]
    assert ["headers" in route["match"] for route in iris] == [True, True, True, False]


def test_two_workspaces_on_one_cluster_have_two_gateways() -> None:
    assert gateway_namespace(5, "a") != gateway_namespace(6, "b")
    assert len(gateway_namespace(10**9, "w" * 50)) <= 63
