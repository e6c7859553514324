"""The real `az`, where the machine has it: it trusts the sandbox as a cloud of its own."""

import json
import os
import shutil
import subprocess

import pytest
from cloud import CLIENT, GROUP, SECRET, SUB

AZ = os.environ.get("AZ") or shutil.which("az")
pytestmark = pytest.mark.skipif(AZ is None, reason="needs az (or its path in AZ)")


@pytest.fixture(scope="module")
def az(town, tmp_path_factory):
    """Runs az, signed in as a contributor, and reads its JSON."""
    environment = {
        **os.environ, "AZURE_CONFIG_DIR": str(tmp_path_factory.mktemp("az")), "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1", "REQUESTS_CA_BUNDLE": str(town.folder / "ca.pem"), "AZURE_CORE_COLLECT_TELEMETRY": "0",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false", "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    }  # fmt: skip

    def run(command: str, *more: str):
        arguments = [AZ, *command.split(), *more]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=170)
        assert done.returncode == 0, f"{command}: {done.stderr[-800:]}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    town.principal({"scope": f"/subscriptions/{SUB}", "role": "Contributor"})
    run(f"cloud register -n sandbox --endpoint-resource-manager {town.secure}")
    run("cloud set -n sandbox")
    run(f"login --service-principal -u {CLIENT} --tenant {town.tenant} -p", SECRET)
    return run


@pytest.mark.timeout(600)
def test_az_makes_changes_stops_and_deletes_a_cluster(az, tmp_path):
    one = f"-g {GROUP} -n azmade"
    pool = f"-g {GROUP} --cluster-name azmade -n extra"
    made = az(f"aks create {one} --node-count 2 --node-vm-size Standard_D3_v2 --no-ssh-key --location westeurope")
    assert (made["provisioningState"], made["agentPoolProfiles"][0]["count"]) == ("Succeeded", 2)
    assert [row["name"] for row in az("aks list")] == ["azmade"]
    assert az(f"aks scale {one} --node-count 3")["agentPoolProfiles"][0]["count"] == 3
    az(f"aks get-credentials {one} -f {tmp_path / 'config'}")
    assert "/clusters/" in (tmp_path / "config").read_text()
    assert az(f"aks nodepool add {pool} --node-count 1 --node-vm-size Standard_DS2_v2")["mode"] == "User"
    assert az(f"aks nodepool scale {pool} --node-count 2")["count"] == 2
    assert len(az(f"aks nodepool list -g {GROUP} --cluster-name azmade")) == 2
    az(f"aks nodepool delete {pool}")
    assert az(f"aks get-upgrades {one}")["controlPlaneProfile"]["upgrades"]
    update = f"aks update {one} --enable-cluster-autoscaler --min-count 1 --max-count 4"
    assert az(update)["agentPoolProfiles"][0]["maxCount"] == 4
    az(f"aks stop {one}")
    assert az(f"aks show {one}")["powerState"]["code"] == "Stopped"
    az(f"aks start {one}")
    az(f"aks delete {one} --yes")
    assert az("aks list") == []
