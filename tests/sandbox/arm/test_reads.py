import json

from azure.mgmt.compute import ComputeManagementClient
from cloud import GROUP, SUB, body


def test_azures_compute_client_reads_sizes_and_quotas(cloud):
    client = cloud.client(ComputeManagementClient)
    before = {row.name.value: row.current_value for row in client.usage.list("westeurope")}
    cloud.ask("PUT", cloud.cluster("one"), body(3))
    after = {row.name.value: row.current_value for row in client.usage.list("westeurope")}
    assert after["cores"] - before["cores"] == after["standardDv2Family"] - before["standardDv2Family"] == 12
    rows = {row.name: row.as_dict() for row in client.resource_skus.list(filter="location eq 'westeurope'")}
    facts = {item["name"]: item["value"] for item in rows["Standard_D3_v2"]["capabilities"]}
    assert (facts["vCPUs"], facts["MemoryGB"]) == ("4", "14")
    assert rows["Standard_NP10s"]["restrictions"]


def test_lists_come_in_pages_and_none_is_lost(cloud):
    for number in range(53):
        assert cloud.ask("PUT", cloud.cluster(f"c{number}"), body(1)).status_code == 201
    first = cloud.ask("GET", cloud.cluster()).json()
    assert len(first["value"]) == 50
    assert "nextLink" in first
    assert len({item.name for item in cloud.client().managed_clusters.list()}) == 53


def test_an_old_etag_and_a_change_of_the_size_are_refused(cloud):
    cloud.ask("PUT", cloud.cluster("one"), body())
    assert cloud.ask("PUT", cloud.cluster("one"), body(), **{"If-Match": '"old"'}).status_code == 412
    cloud.ask("POST", cloud.cluster("one/abort"))
    answer = cloud.ask("PUT", cloud.cluster("one"), body(size="Standard_DS2_v2"))
    assert (answer.status_code, answer.json()["code"]) == (400, "PropertyChangeNotAllowed")


def test_groups_subnets_versions_and_the_request_log(cloud):
    group = f"/subscriptions/{SUB}/resourcegroups/{GROUP.upper()}"
    assert cloud.ask("HEAD", group).status_code == 204
    assert cloud.ask("GET", group + "x").json()["error"]["code"] == "ResourceGroupNotFound"
    net = f"{group}/providers/Microsoft.Network/virtualNetworks"
    assert cloud.ask("GET", net + "/slipway-vnet/subnets/default").status_code == 200
    assert cloud.ask("GET", net + "/other/subnets/default").status_code == 404
    versions = cloud.client().managed_clusters.list_kubernetes_versions("westeurope").values_property
    assert [row.version for row in versions if row.is_default] == ["1.33"]
    assert cloud.ask("DELETE", cloud.cluster("none")).status_code == 204
    cloud.ask("PUT", cloud.cluster("one"), body())
    lines = [json.loads(line) for line in (cloud.folder / "state/requests-arm.jsonl").read_text().splitlines()]
    assert [(line["method"], line["status"], line["effective"]) for line in lines] == [
        ("DELETE", 204, False),
        ("PUT", 201, True),
    ]
