import pytest
import requests
from cloud import GROUP, SUB, body

GROUP_URL = f"/subscriptions/{SUB}/resourceGroups"


@pytest.fixture
def calm(town):
    """The sandbox without any fault, before and after."""
    town.ask("DELETE", "/sandbox/faults", token="admin-token")
    yield town
    town.ask("DELETE", "/sandbox/faults", token="admin-token")


def test_reads_and_writes_are_throttled_apart_with_or_without_a_time_to_wait(calm):
    calm.fault("arm.throttle", access="write", retry_after=9)
    calm.fault("arm.throttle+reads", access="read", retry_after=None, target="cluster", code="TooManyRequests")
    write = calm.ask("PUT", calm.cluster("t"), body(1))
    assert (write.status_code, write.headers["Retry-After"]) == (429, "9")
    assert write.json()["error"]["code"] == "SubscriptionRequestsThrottled"
    read = calm.ask("GET", calm.cluster("t"))
    assert (read.status_code, read.json()["error"]["code"]) == (429, "TooManyRequests")
    assert "Retry-After" not in read.headers
    assert calm.ask("GET", f"{GROUP_URL}/{GROUP}").status_code == 200


def test_an_unavailable_service_answers_html_or_nothing_with_the_status_asked_for(calm):
    calm.fault("arm.unavailable", count=1, status=502, body="html", retry_after=3)
    answer = calm.ask("GET", calm.cluster())
    assert (answer.status_code, answer.headers["Retry-After"]) == (502, "3")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<h1>502 Bad Gateway</h1>" in answer.text
    calm.fault("arm.unavailable", count=1, status=500, body="empty")
    answer = calm.ask("GET", calm.cluster())
    assert (answer.status_code, answer.text) == (500, "")
    assert "x-ms-request-id" in answer.headers


def test_any_answer_can_be_given(calm):
    refusal = {"error": {"code": "RequestDisallowedByPolicy", "message": "No.", "additionalInfo": [{"type": "x"}]}}
    calm.fault("arm.answer", count=1, method="PUT", status=403, json=refusal, headers={"x-ms-failure-cause": "gateway"})
    answer = calm.ask("PUT", calm.cluster("policed"), body(1))
    assert (answer.status_code, answer.json()) == (403, refusal)
    assert answer.headers["x-ms-failure-cause"] == "gateway"
    assert calm.ask("GET", calm.cluster("policed")).status_code == 404


def test_a_list_may_begin_with_an_empty_page(calm):
    calm.made("paged", body(1))
    calm.fault("arm.empty_page", count=1)
    first = calm.ask("GET", calm.cluster()).json()
    assert first["value"] == []
    assert "paged" in {row["name"] for row in calm.ask("GET", first["nextLink"]).json()["value"]}


def test_a_finished_cluster_is_written_in_another_letter_case_and_a_put_of_it_changes_nothing(calm):
    accepted = calm.ask("PUT", calm.cluster("cased"), body(1))
    assert accepted.json()["properties"]["networkProfile"]["loadBalancerSku"] == "standard"
    calm.wait(accepted)
    made = calm.ask("GET", calm.cluster("cased")).json()
    network = made["properties"]["networkProfile"]
    assert network["loadBalancerSku"] == "Standard"
    assert "/publicIPAddresses/" in network["loadBalancerProfile"]["effectiveOutboundIPs"][0]["id"]
    assert calm.made("cased", made)["properties"]["networkProfile"] == network
    lines = (calm.folder / "state/requests-arm.jsonl").read_text().splitlines()
    mine = [line for line in lines if '/cased"' in line and '"PUT"' in line]
    assert ['"effective":true' in line for line in mine] == [True, False]


def outcomes(calm, number: int) -> str:
    """What became of requests: a dropped one is d, else the first figure of its status."""
    found = ""
    for _ in range(number):
        try:
            found += str(calm.ask("GET", calm.cluster()).status_code)[0]
        except requests.ConnectionError:
            found += "d"
    return found


def test_dice_fall_by_their_seed_and_as_often_as_their_rate_says(calm):
    def roll(seed: int) -> str:
        calm.ask("DELETE", "/sandbox/faults", token="admin-token")
        calm.fault("arm.throttle", rate=0.1, seed=seed)
        calm.fault("arm.unavailable", rate=0.1, seed=seed + 1, status=503)
        calm.fault("arm.drop", rate=0.1, seed=seed + 2)
        calm.fault("arm.drop+after", rate=0.1, seed=seed + 3, when="after")
        return outcomes(calm, 120)

    first = roll(7)
    assert roll(7) == first
    assert roll(70) != first
    assert 15 <= sum(kind != "2" for kind in first) <= 75
    assert {"4", "5", "d", "2"} == set(first)


def test_a_late_failure_has_its_cause_inside(calm):
    inner = {"code": "SkuNotAvailable", "message": "No capacity for Standard_D3_v2 in zone 1."}
    calm.fault("arm.late_failure", count=1, code="CreateVMSSAgentPoolFailed", message="The pool failed.", inner=inner)
    made = calm.ask("PUT", calm.cluster("late"), body(1))
    found = calm.wait(made)
    assert (found["status"], found["error"]["code"]) == ("Failed", "CreateVMSSAgentPoolFailed")
    assert found["error"]["details"] == [inner]
    assert calm.ask("GET", calm.cluster("late")).json()["properties"]["provisioningState"] == "Failed"


def test_an_operation_ends_canceled_by_somebody(calm):
    calm.fault("arm.canceled", count=1, cluster="called-off", message="Canceled by a colleague.")
    found = calm.wait(calm.ask("PUT", calm.cluster("called-off"), body(1)))
    assert (found["status"], found["error"]["message"]) == ("Canceled", "Canceled by a colleague.")
    assert calm.ask("GET", calm.cluster("called-off")).json()["properties"]["provisioningState"] == "Canceled"


def test_statuses_may_be_any_words_and_an_error_may_stand_beside_them(calm):
    calm.fault("arm.statuses", count=1, words=["Reticulating", "Splining {nodes}"])
    calm.fault("arm.error_beside", count=1, when="running")
    calm.fault("arm.error_beside+end", count=1, when="succeeded", code="NotLatestOperation")
    made = calm.ask("PUT", calm.cluster("odd"), body(1))
    first = calm.ask("GET", made.headers["Azure-AsyncOperation"]).json()
    assert (first["status"], first["error"]["code"]) == ("Reticulating", "NotLatestOperation")
    last = calm.wait(made)
    assert (last["status"], last["error"]["code"]) == ("Succeeded", "NotLatestOperation")


def test_operation_addresses_are_as_long_as_azures_and_may_come_without_a_time_to_wait(calm):
    calm.fault("arm.no_retry_after")
    made = calm.ask("PUT", calm.cluster("long"), body(1))
    url = made.headers["Azure-AsyncOperation"]
    assert 3000 <= len(url) <= 3600
    assert "Retry-After" not in made.headers
    assert "Retry-After" not in calm.ask("GET", url).headers
    calm.ask("DELETE", "/sandbox/faults", token="admin-token")
    assert calm.ask("GET", url).headers.get("Retry-After", "1") == "1"


def test_azure_upgrades_a_cluster_by_itself_and_refuses_ours_meanwhile(calm):
    calm.made("auto", body(1, kubernetesVersion="1.32"))
    calm.admin("POST", f"arm/clusters/{GROUP}/auto/upgrade", {"seconds": 2, "version": "1.33"})
    assert calm.ask("GET", calm.cluster("auto")).json()["properties"]["provisioningState"] == "Upgrading"
    refused = calm.ask("PUT", calm.cluster("auto"), body(2, kubernetesVersion="1.32"))
    assert (refused.status_code, refused.json()["code"]) == (409, "OperationNotAllowed")
    assert "(Upgrading - " in refused.json()["message"]
    calm.admin("POST", "clock", {"advance": 5})
    props = calm.settled("auto")["properties"]
    assert props["currentKubernetesVersion"].startswith("1.33.")


def test_others_change_and_delete_what_is_ours(calm):
    calm.made("theirs", body(1))
    calm.admin("POST", f"arm/clusters/{GROUP}/theirs/change", {"count": 3, "tags": {"by": "them"}})
    found = calm.settled("theirs")
    assert (found["properties"]["agentPoolProfiles"][0]["count"], found["tags"]) == (3, {"by": "them"})
    calm.admin("DELETE", f"arm/clusters/{GROUP}/theirs")
    gone(calm, calm.cluster("theirs"))


def gone(calm, url: str) -> None:
    calm.until(lambda: calm.ask("GET", url).status_code == 404)


def test_a_group_is_deleted_with_its_clusters(calm):
    url = f"{GROUP_URL}/short-lived"
    assert calm.ask("PUT", url, {"location": "westeurope"}).status_code == 201
    cluster = calm.cluster("inside").replace(f"/{GROUP}/", "/short-lived/")
    assert calm.ask("PUT", cluster, body(1)).status_code == 201
    answer = calm.ask("DELETE", url)
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "15")
    assert calm.ask("GET", answer.headers["Location"]).status_code == 202
    assert calm.ask("GET", url).json()["properties"]["provisioningState"] == "Deleting"
    assert calm.ask("PUT", cluster + "2", body(1)).json()["error"]["code"] == "ResourceGroupBeingDeleted"
    calm.admin("POST", "clock", {"advance": 60})
    gone(calm, url)
    assert calm.ask("GET", answer.headers["Location"]).status_code == 200
    assert calm.ask("GET", cluster).json()["error"]["code"] == "ResourceGroupNotFound"


def test_the_group_of_a_clusters_machines_lives_with_it_unless_something_is_left_behind(calm):
    for name in ("clean", "messy"):
        calm.made(name, body(1))
        node_group = f"{GROUP_URL}/MC_{GROUP}_{name}_westeurope"
        found = calm.ask("GET", node_group).json()
        assert found["managedBy"].lower().endswith(f"/managedclusters/{name}")
        kinds = {row["type"] for row in calm.ask("GET", node_group + "/resources").json()["value"]}
        assert kinds == {"Microsoft.Network/loadBalancers", "Microsoft.Network/publicIPAddresses"}
        if name == "messy":
            calm.fault("arm.leftovers", count=1, cluster=name)
        assert calm.wait(calm.ask("DELETE", calm.cluster(name)))["status"] == "Succeeded"
    assert calm.ask("GET", f"{GROUP_URL}/MC_{GROUP}_clean_westeurope").status_code == 404
    left = f"{GROUP_URL}/MC_{GROUP}_messy_westeurope"
    assert len(calm.ask("GET", left + "/resources").json()["value"]) == 2
    assert calm.ask("DELETE", left).status_code == 202
    gone(calm, left)
