"""The commands of docs/azure.md that the sandbox can answer, as they stand there, with the real `az`."""

import re
from pathlib import Path

import pytest
from cloud import GROUP
from test_az import AZ, az  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(AZ is None, reason="needs az (or its path in AZ)")
TEXT = (Path(__file__).parents[3] / "docs" / "azure.md").read_text()


def command(start: str) -> str:
    """The first command of the document that begins so, with its names filled in."""
    found = re.findall(rf"^ *az ({re.escape(start)}.*)$", TEXT, re.M)[0]
    return found.replace('"$group"', GROUP).replace('"$region"', "westeurope").replace('"', "")


@pytest.mark.timeout(600)
def test_providers_group_network_and_a_cluster_as_the_document_says(az):  # noqa: F811
    (names,) = re.findall(r"^for each in (.*?); do$", TEXT, re.M)
    for name in names.split():
        az(command("provider register").replace("$each", name))
    az(command("group create"))
    assert az(command("network vnet create"))["newVNet"]["subnets"][0]["name"] == "nodes"
    made = az(command("aks create"))
    assert (made["provisioningState"], made["disableLocalAccounts"]) == ("Succeeded", False)
    assert az(f"aks show -g {GROUP} -n theirs --query identityProfile.kubeletidentity.objectId")
    walled = "--enable-aad --enable-azure-rbac --disable-local-accounts"
    assert walled in TEXT
    closed = az(command("aks create").replace("--name theirs", f"--name closed {walled}"))
    assert (closed["disableLocalAccounts"], closed["aadProfile"]["enableAzureRbac"]) == (True, True)
