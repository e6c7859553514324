from azure.mgmt.compute import ComputeManagementClient
from cloud import body

SIZE = "Standard_E4s_v3"


def sized(size: str, zones: list[str] | None = None):
    found = body(1, size)
    found["properties"]["agentPoolProfiles"][0]["availabilityZones"] = zones
    return found


def test_a_barred_size_is_restricted_in_the_list_and_refused_in_a_cluster(town):
    town.admin("PUT", f"arm/skus/westeurope/{SIZE}", {"barred": True})
    client = town.client(ComputeManagementClient)
    rows = {row.name: row for row in client.resource_skus.list(filter="location eq 'westeurope'")}
    found = rows[SIZE].restrictions[0]
    assert (found.type, found.reason_code) == ("Location", "NotAvailableForSubscription")
    answer = town.ask("PUT", town.cluster("barred"), sized(SIZE))
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")
    assert f"The VM size of {SIZE} is not allowed in your subscription in location 'westeurope'" in answer.text
    assert SIZE not in answer.json()["message"].partition("The available VM sizes are")[2]


def test_zones_that_a_size_lacks_or_the_subscription_may_not_use_are_refused(town):
    size = "Standard_F4s_v2"
    town.admin("PUT", f"arm/skus/westeurope/{size}", {"zones": ["1", "2"], "barred_zones": ["2"]})
    client = town.client(ComputeManagementClient)
    row = next(row for row in client.resource_skus.list(filter="location eq 'westeurope'") if row.name == size)
    assert row.location_info[0].zones == ["1", "2"]
    assert (row.restrictions[0].type, row.restrictions[0].restriction_info.zones) == ("Zone", ["2"])
    answer = town.ask("PUT", town.cluster("zoned"), sized(size, ["1", "2", "3"]))
    assert (answer.status_code, answer.json()["code"]) == (400, "AvailabilityZoneNotSupported")
    assert "The zone(s) '2,3' for resource 'nodepool1' is not supported." in answer.json()["message"]
    assert "zones for location 'westeurope' are '1'" in answer.json()["message"]
    assert town.ask("PUT", town.cluster("zoned"), sized(size, ["1"])).status_code == 201


def test_quotas_are_what_the_admin_says(town):
    family = "standardESv4Family"
    town.admin("PUT", f"arm/quotas/northeurope/{family}", {"limit": 20, "used": 13})
    client = town.client(ComputeManagementClient)
    row = next(row for row in client.usage.list("northeurope") if row.name.value == family)
    assert (row.current_value, row.limit) == (13, 20)
    asked = sized("Standard_E4s_v4")
    asked["location"] = "northeurope"
    asked["properties"]["agentPoolProfiles"][0]["count"] = 2
    answer = town.ask("PUT", town.cluster("poor"), asked)
    assert answer.json()["code"] == "ErrCode_InsufficientVCPUQuota"
    assert f"left {family} vcpu quota 7, requested quota 8" in answer.json()["message"]
