"""One home for the journeys of this folder, with its artifacts in the pretend Blob storage: `main` answers with v1."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config

from tests.journeys.crash.house import CLUSTER, House, furnish
from tests.journeys.test_contract import kubeconfig


@pytest.fixture(scope="package")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running home; what it deploys is fetched from Blob."""
    made = House(tmp_path_factory.mktemp("yard") / "home")
    made.env |= {"SLIPWAY_BLOB_ACCOUNT_URL": "sandbox"}
    try:
        made.run("up", "--detach")
        furnish(made)
        yield made
    finally:
        made.run("down")


@pytest.fixture(scope="package")
def kube(yard: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The cluster by the official client."""
    known = json.loads(yard.file("credentials.json").read_text())
    path = tmp_path_factory.mktemp("kube") / "config"
    found = yard.api().get(f"compute-targets/{CLUSTER}/")
    path.write_bytes(kubeconfig(known, found["cluster_name"], found["resource_group"]))
    with config.new_client_from_config(str(path)) as link:
        yield client.CoreV1Api(link)
