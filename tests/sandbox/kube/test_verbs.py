"""Reading, writing, patching, deleting, and what the API says of itself."""

from typing import Any

import pytest

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
CORE = "api/v1/namespaces"
Json = dict[str, Any]


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Json:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


def web(name: str = "web") -> Json:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def test_discovery_lists_exactly_the_served_kinds(http):
    groups = {group["name"] for group in http("GET", "apis").json()["groups"]}
    assert groups == {
        "apps", "authorization.k8s.io", "discovery.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
    }  # fmt: skip
    core = {row["name"]: row["verbs"] for row in http("GET", "api/v1").json()["resources"]}
    assert set(core) == {
        "configmaps", "events", "namespaces", "nodes", "pods", "pods/eviction", "pods/log", "pods/proxy",
        "resourcequotas", "secrets", "serviceaccounts", "serviceaccounts/token", "services",
    }  # fmt: skip
    assert core["events"] == ["get", "list", "watch"]
    assert http("GET", "version").json()["gitVersion"] == "v1.32.5"
    assert http("GET", "readyz").text == "ok"


def test_both_openapi_documents_hold_the_kinds_and_offer_field_validation(http):
    index = http("GET", "openapi/v3").json()["paths"]
    where = index["apis/apps/v1"]["serverRelativeURL"]
    assert where.startswith("/clusters/c1/openapi/v3/apis/apps/v1?hash=")
    document = http("GET", "openapi/v3/apis/apps/v1").json()
    assert "io.k8s.api.apps.v1.Deployment" in document["components"]["schemas"]
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in {row["name"] for row in patch["parameters"]}
    swagger = http("GET", "openapi/v2").json()
    assert "io.k8s.api.core.v1.PodSpec" in swagger["definitions"]
    assert "io.k8s.api.batch.v1.Job" not in swagger["definitions"]


@pytest.mark.parametrize(
    "path", ["apis/batch/v1/namespaces/x/jobs", "api/v1/persistentvolumes", "apis/keda.sh/v1alpha1"]
)
def test_an_unknown_path_is_a_plain_text_404(http, path):
    answer = http("GET", path)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_verb_that_a_kind_lacks_is_a_405(http, namespace):
    for method, path in (
        ("POST", f"apis/apps/v1/namespaces/{namespace}/replicasets"),
        ("DELETE", "api/v1/nodes/aks-pool-0"),
        ("PUT", f"{CORE}/{namespace}/pods/x"),
        ("POST", f"{CORE}/{namespace}/events"),
        ("GET", "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    ):
        answer = http(method, path, {})
        assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed"), path


def test_a_missing_object_is_a_404_with_the_plural_in_details(http, namespace):
    status = http("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/none").json()
    assert status["message"] == 'deployments.apps "none" not found'
    assert status["details"] == {"name": "none", "group": "apps", "kind": "deployments"}


def test_listing_in_a_missing_namespace_is_an_empty_list(http):
    answer = http("GET", f"{CORE}/ghost/pods")
    assert (answer.status_code, answer.json()["items"]) == (200, [])
    assert answer.json()["kind"] == "PodList"


def test_a_second_create_is_a_409_with_the_plural_in_details(http, namespace):
    http("POST", f"{CORE}/{namespace}/configmaps", config_map("a"))
    answer = http("POST", f"{CORE}/{namespace}/configmaps", config_map("a"))
    assert (answer.status_code, answer.json()["reason"]) == (409, "AlreadyExists")
    assert answer.json()["message"] == 'configmaps "a" already exists'
    assert answer.json()["details"] == {"name": "a", "kind": "configmaps"}


def test_a_stale_resource_version_is_a_conflict(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    old = http("POST", path, config_map("a", x="1")).json()
    http("PUT", f"{path}/a", {**old, "data": {"x": "2"}})
    answer = http("PUT", f"{path}/a", {**old, "data": {"x": "3"}})
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    patched = http("PATCH", f"{path}/a", {"metadata": {"resourceVersion": "1"}, "data": {"x": "4"}}, MERGE)
    assert patched.status_code == 409


def test_a_write_that_changes_nothing_keeps_the_version(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    made = http("POST", path, config_map("a", x="1")).json()
    same = http("PUT", f"{path}/a", made).json()
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_an_annotation_raises_a_deployments_generation_and_a_label_does_not(http, namespace):
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    assert http("POST", path, web()).json()["metadata"]["generation"] == 1
    labelled = http("PATCH", f"{path}/web", {"metadata": {"labels": {"a": "b"}}}, MERGE).json()
    assert labelled["metadata"]["generation"] == 1
    noted = http("PATCH", f"{path}/web", {"metadata": {"annotations": {"a": "b"}}}, MERGE).json()
    assert noted["metadata"]["generation"] == 2


def test_label_selectors_choose_by_equality_and_by_set(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    for name, labels in (("a", {"tier": "one"}), ("b", {"tier": "two", "x": "1"}), ("c", {})):
        http("POST", path, config_map(name, labels))

    def names(selector: str) -> list[str]:
        rows = http("GET", path, labelSelector=selector).json()["items"]
        return [row["metadata"]["name"] for row in rows if row["metadata"]["name"] != "kube-root-ca.crt"]

    assert names("tier=one") == ["a"]
    assert names("tier!=one") == ["b", "c"]
    assert names("tier in (one, two)") == ["a", "b"]
    assert names("tier in (one,two),x") == ["b"]
    assert names("tier notin (one)") == ["b", "c"]
    assert names("!tier") == ["c"]
    assert http("GET", path, labelSelector="a==b==c").status_code == 400


def test_field_selectors_choose_by_the_offered_fields(http, namespace):
    for name in ("aks-pool-0", "aks-pool-1"):
        spec = {"nodeName": name, "containers": [{"name": "main", "image": "example/web:1"}]}
        made = http("POST", f"{CORE}/{namespace}/pods", {"metadata": {"name": f"on-{name}"}, "spec": spec})
        assert made.status_code == 201, made.text
    choice = f"metadata.namespace={namespace},spec.nodeName=aks-pool-1,status.phase=Pending"
    rows = http("GET", "api/v1/pods", fieldSelector=choice).json()["items"]
    assert [row["metadata"]["name"] for row in rows] == ["on-aks-pool-1"]
    answer = http("GET", "api/v1/pods", fieldSelector="spec.color=red")
    assert (answer.status_code, answer.json()["message"]) == (400, "field label not supported: spec.color")


def test_events_are_found_by_what_they_are_about(server, http, namespace):
    made = http("POST", f"{CORE}/{namespace}/configmaps", config_map("a")).json()
    for _ in range(2):
        server.call(server.store.event, "c1", made, "Normal", "Seen", "It was seen", "tester")
    rows = http(
        "GET", f"{CORE}/{namespace}/events", fieldSelector="involvedObject.name=a,involvedObject.kind=ConfigMap"
    ).json()["items"]
    assert [(row["reason"], row["count"]) for row in rows] == [("Seen", 2)]


def test_pages_hold_every_object_once(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    for name in "abcde":
        http("POST", path, config_map(name))
    found, after, pages = [], "", 0
    while True:
        page = http("GET", path, limit=2, **{"continue": after}).json()
        found += [row["metadata"]["name"] for row in page["items"]]
        after, pages = page["metadata"].get("continue", ""), pages + 1
        if not after:
            break
    assert (found, pages) == ([*"abcde", "kube-root-ca.crt"], 3)
    assert http("GET", path, **{"continue": "rubbish"}).status_code == 400


def test_a_strategic_patch_merges_lists_by_key(http, namespace):
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    http("POST", path, web())
    patch = {
        "spec": {
            "template": {"spec": {"containers": [{"name": "main", "image": "b:2"}, {"name": "side", "image": "c:1"}]}}
        }
    }
    after = http("PATCH", f"{path}/web", patch, STRATEGIC).json()["spec"]["template"]["spec"]["containers"]
    assert {(item["name"], item["image"]) for item in after} == {("main", "b:2"), ("side", "c:1")}
    gone = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    after = http("PATCH", f"{path}/web", gone, STRATEGIC).json()["spec"]["template"]["spec"]["containers"]
    assert [item["name"] for item in after] == ["main"]
    nameless = {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    answer = http("PATCH", f"{path}/web", nameless, STRATEGIC)
    assert (answer.status_code, "does not contain declared merge key: name" in answer.json()["message"]) == (400, True)


def test_merge_and_json_patches_change_what_they_name(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    http("POST", path, config_map("a", x="1", y="2"))
    assert http("PATCH", f"{path}/a", {"data": {"x": None, "z": "3"}}, MERGE).json()["data"] == {"y": "2", "z": "3"}
    operations = [{"op": "test", "path": "/data/y", "value": "2"}, {"op": "replace", "path": "/data/y", "value": "9"}]
    assert http("PATCH", f"{path}/a", operations, JSON_PATCH).json()["data"]["y"] == "9"
    failed = http("PATCH", f"{path}/a", operations, JSON_PATCH)
    assert (failed.status_code, failed.json()["reason"]) == (422, "Invalid")
    assert http("PATCH", f"{path}/a", {}, "text/plain").status_code == 415


def test_a_dry_run_answers_and_stores_nothing(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    assert http("POST", path, config_map("a"), dryRun="All").status_code == 201
    assert http("GET", f"{path}/a").status_code == 404
    http("POST", path, config_map("b", x="1"))
    assert http("PATCH", f"{path}/b", {"data": {"x": "2"}}, MERGE, dryRun="All").json()["data"]["x"] == "2"
    http("DELETE", f"{path}/b", dryRun="All")
    assert http("GET", f"{path}/b").json()["data"]["x"] == "1"
    assert http("POST", path, config_map("a"), dryRun="Some").status_code == 400


def test_delete_obeys_its_preconditions(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    made = http("POST", path, config_map("a")).json()
    refused = http("DELETE", f"{path}/a", {"preconditions": {"uid": "another"}})
    assert (refused.status_code, "Precondition failed" in refused.json()["message"]) == (409, True)
    done = http("DELETE", f"{path}/a", {"preconditions": {"uid": made["metadata"]["uid"]}})
    assert done.json()["status"] == "Success"
    assert done.json()["details"]["uid"] == made["metadata"]["uid"]
    assert http("DELETE", f"{path}/a").status_code == 404


def test_a_collection_is_deleted_by_selector_where_the_real_server_has_it(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    http("POST", path, config_map("a", {"go": "yes"}))
    http("POST", path, config_map("b"))
    assert len(http("DELETE", path, labelSelector="go=yes").json()["items"]) == 1
    assert http("GET", f"{path}/a").status_code == 404
    assert http("GET", f"{path}/b").status_code == 200
    assert http("DELETE", f"{CORE}/{namespace}/serviceaccounts").status_code == 405


def test_a_finalizer_holds_an_object_until_it_is_taken_off(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    http("POST", path, body)
    assert http("DELETE", f"{path}/a").json()["metadata"]["deletionTimestamp"]
    assert http("GET", f"{path}/a").status_code == 200
    http("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, MERGE)
    assert http("GET", f"{path}/a").status_code == 404


def test_a_scheduled_pod_keeps_its_grace_and_an_unscheduled_one_goes_at_once(server, http, namespace):
    path = f"{CORE}/{namespace}/pods"
    for name in ("here", "nowhere"):
        http("POST", path, {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b:1"}]}})

    def bind(pod: Json) -> None:
        pod["spec"]["nodeName"] = "aks-pool-0"

    server.call(server.store.mutate, "c1", "pods", namespace, "here", bind)
    http("DELETE", f"{path}/nowhere")
    assert http("GET", f"{path}/nowhere").status_code == 404
    leaving = http("DELETE", f"{path}/here", {"gracePeriodSeconds": 7}).json()
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 7
    assert http("GET", f"{path}/here").status_code == 200
    http("DELETE", f"{path}/here", {"gracePeriodSeconds": 0})
    assert http("GET", f"{path}/here").status_code == 404


def test_a_new_pod_is_admitted_with_account_token_priority_and_tolerations(http, namespace):
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    made = http("POST", f"{CORE}/{namespace}/pods", body).json()
    spec = made["spec"]
    assert spec["serviceAccountName"] == "default"
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    ]
    assert (spec["priority"], spec["containers"][0]["imagePullPolicy"]) == (0, "Always")
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    body["metadata"]["name"] = "q"
    body["spec"]["automountServiceAccountToken"] = False
    assert "volumes" not in http("POST", f"{CORE}/{namespace}/pods", body).json()["spec"]


def test_defaults_are_filled_in(http, namespace):
    spec = http("POST", f"apis/apps/v1/namespaces/{namespace}/deployments", web()).json()["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"], pod["dnsPolicy"]) == (
        "Always",
        30,
        "ClusterFirst",
    )
    balancer = {"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    service = http("POST", f"{CORE}/{namespace}/services", balancer).json()["spec"]
    assert service["ports"][0]["targetPort"] == 80
    assert 30000 <= service["ports"][0]["nodePort"] <= 32767
    assert service["clusterIPs"] == [service["clusterIP"]]
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    stored = http("POST", f"{CORE}/{namespace}/secrets", secret).json()
    assert (stored["type"], stored["data"]) == ("Opaque", {"a": "Yg=="})


def test_a_body_for_another_name_or_namespace_is_refused(http, namespace):
    path = f"{CORE}/{namespace}/configmaps"
    http("POST", path, config_map("a"))
    answer = http("PUT", f"{path}/a", config_map("b"))
    assert answer.json()["message"] == "the name of the object (b) does not match the name on the URL (a)"
    body = {"metadata": {"name": "c", "namespace": "other"}}
    assert http("POST", path, body).json()["message"] == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )
    assert http("POST", path, {"kind": "Secret", "metadata": {"name": "c"}}).status_code == 400


def test_a_name_can_be_generated(http, namespace):
    made = http("POST", f"{CORE}/{namespace}/configmaps", {"metadata": {"generateName": "run-"}}).json()
    assert made["metadata"]["name"].startswith("run-")
    assert len(made["metadata"]["name"]) == len("run-") + 5


def test_a_namespace_gets_its_account_and_ends_in_steps(http, namespace):
    assert http("GET", f"{CORE}/{namespace}/serviceaccounts/default").status_code == 200
    assert (
        "BEGIN CERTIFICATE" in http("GET", f"{CORE}/{namespace}/configmaps/kube-root-ca.crt").json()["data"]["ca.crt"]
    )
    ending = http("DELETE", f"{CORE}/{namespace}").json()
    assert ending["status"]["phase"] == "Terminating"


def test_tables_have_the_columns_that_kubectl_prints(http):
    http.session.headers["Accept"] = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = http("GET", "api/v1/nodes").json()
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]][:5] == [
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
    ]
    assert table["rows"][0]["cells"][:2] == ["aks-pool-0", "Ready"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
