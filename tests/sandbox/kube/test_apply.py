"""Server-side apply: ownership, conflicts, force, dropped fields."""

from typing import Any

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
Json = dict[str, Any]


def config(name: str = "web", **spec: Any) -> Json:
    labels = {"app": name}
    template = {"metadata": {"labels": dict(labels)}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}}
    body: Json = {"selector": {"matchLabels": dict(labels)}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


def apply(http: Any, namespace: str, body: Json, manager: str, **query: Any) -> Any:
    name = body["metadata"]["name"]
    path = f"apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    return http("PATCH", path, body, APPLY, fieldManager=manager, **query)


def owners(obj: Json) -> dict[tuple[str, str], Json]:
    return {(row["manager"], row["operation"]): row["fieldsV1"] for row in obj["metadata"]["managedFields"]}


def test_apply_creates_and_records_the_leaves_it_owns(http, namespace):
    answer = apply(http, namespace, config(replicas=2), "portal")
    assert answer.status_code == 201
    fields = owners(answer.json())[("portal", "Apply")]
    assert fields["f:spec"]["f:replicas"] == {}
    container = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert container == {".": {}, "f:name": {}, "f:image": {}}
    assert answer.json()["spec"]["revisionHistoryLimit"] == 10


def test_the_same_apply_again_changes_nothing(http, namespace):
    first = apply(http, namespace, config(replicas=2), "portal").json()
    again = apply(http, namespace, config(replicas=2), "portal")
    assert again.status_code == 200
    assert again.json() == first


def test_a_field_of_another_manager_is_a_conflict_that_names_both(http, namespace):
    apply(http, namespace, config(replicas=2), "portal")
    answer = apply(http, namespace, config(replicas=3), "other")
    status = answer.json()
    assert (answer.status_code, status["reason"]) == (409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "portal": .spec.replicas'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "portal"', "field": ".spec.replicas"}
    ]


def test_several_conflicts_are_listed_by_manager(http, namespace):
    apply(http, namespace, config(replicas=2, minReadySeconds=1), "portal")
    message = apply(http, namespace, config(replicas=3, minReadySeconds=2), "other").json()["message"]
    assert message == (
        'Apply failed with 2 conflicts: conflicts with "portal":\n- .spec.minReadySeconds\n- .spec.replicas'
    )


def test_a_scale_by_another_client_is_a_conflict_with_its_subresource(http, namespace):
    apply(http, namespace, config(replicas=2), "portal")
    path = f"apis/apps/v1/namespaces/{namespace}/deployments/web/scale"
    scaled = http("PATCH", path, {"spec": {"replicas": 5}}, MERGE, fieldManager="kubectl")
    assert scaled.json()["spec"]["replicas"] == 5
    message = apply(http, namespace, config(replicas=2), "portal").json()["message"]
    assert message == (
        'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas'
    )


def test_force_takes_the_field_over(http, namespace):
    apply(http, namespace, config(replicas=2), "portal")
    answer = apply(http, namespace, config(replicas=3), "other", force="true")
    assert answer.json()["spec"]["replicas"] == 3
    found = owners(answer.json())
    assert "f:replicas" not in found[("portal", "Apply")]["f:spec"]
    assert found[("other", "Apply")]["f:spec"]["f:replicas"] == {}


def test_the_same_value_is_owned_together_and_stays_until_both_drop_it(http, namespace):
    apply(http, namespace, config(minReadySeconds=4), "one")
    apply(http, namespace, config(minReadySeconds=4), "two")
    assert apply(http, namespace, config(), "one").json()["spec"]["minReadySeconds"] == 4
    assert "minReadySeconds" not in apply(http, namespace, config(), "two").json()["spec"]


def test_a_dropped_field_goes_back_to_its_default(http, namespace):
    apply(http, namespace, config(replicas=5), "portal")
    assert apply(http, namespace, config(), "portal").json()["spec"]["replicas"] == 1


def test_a_dropped_list_item_goes_with_its_defaults(http, namespace):
    body = config()
    extra = {"name": "side", "image": "c:1", "ports": [{"containerPort": 9}]}
    body["spec"]["template"]["spec"]["containers"].append(extra)
    made = apply(http, namespace, body, "portal").json()
    assert len(made["spec"]["template"]["spec"]["containers"]) == 2
    after = apply(http, namespace, config(), "portal").json()
    assert [item["name"] for item in after["spec"]["template"]["spec"]["containers"]] == ["main"]


def test_another_managers_item_of_a_keyed_list_stays(http, namespace):
    path = f"api/v1/namespaces/{namespace}/services/s"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    first = {**service, "spec": {"ports": [{"name": "a", "port": 80}]}}
    second = {**service, "spec": {"ports": [{"name": "b", "port": 81}]}}
    http("PATCH", path, first, APPLY, fieldManager="one")
    both = http("PATCH", path, second, APPLY, fieldManager="two")
    assert [port["port"] for port in both.json()["spec"]["ports"]] == [80, 81]
    left = http("PATCH", path, {**service, "spec": {"type": "ClusterIP"}}, APPLY, fieldManager="two")
    assert [port["port"] for port in left.json()["spec"]["ports"]] == [80]


def test_an_owner_that_applies_nothing_disappears(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps/c"
    shell = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    http("PATCH", path, {**shell, "data": {"a": "1"}}, APPLY, fieldManager="one")
    http("PATCH", path, {**shell, "data": {"b": "2"}}, APPLY, fieldManager="two")
    after = http("PATCH", path, shell, APPLY, fieldManager="one").json()
    assert after["data"] == {"b": "2"}
    assert list(owners(after)) == [("two", "Apply")]


def test_an_update_takes_fields_from_their_appliers(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps/c"
    shell = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    http("PATCH", path, {**shell, "data": {"a": "1"}}, APPLY, fieldManager="one")
    after = http("PATCH", path, {"data": {"a": "2"}}, MERGE, fieldManager="editor").json()
    assert list(owners(after)) == [("editor", "Update")]
    message = http("PATCH", path, {**shell, "data": {"a": "1"}}, APPLY, fieldManager="one").json()["message"]
    assert message == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.a'


def test_the_manager_of_a_write_is_the_client_without_its_version(http, namespace):
    http.session.headers["User-Agent"] = "tool/1.2 (linux)"
    made = http("POST", f"api/v1/namespaces/{namespace}/configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    assert list(owners(made.json())) == [("tool", "Update")]


def test_an_undeclared_field_is_a_500_that_is_a_refusal(http, namespace):
    answer = apply(http, namespace, config(replicsa=3), "portal")
    assert (answer.status_code, answer.json()["reason"]) == (500, "InternalError")
    assert answer.json()["message"] == (
        f"failed to create typed patch object ({namespace}/web; apps/v1, Kind=Deployment): "
        ".spec.replicsa: field not declared in schema"
    )


def test_wrong_types_missing_keys_and_twins_are_refused_by_path(http, namespace):
    wrong = apply(http, namespace, config(replicas="three"), "portal").json()["message"]
    assert wrong.endswith(".spec.replicas: expected numeric (int or float), got string")
    body = config()
    body["spec"]["template"]["spec"]["containers"] = [{"image": "b:1"}]
    assert (
        'element 0: associative list with keys has an element that omits key field "name"'
        in (apply(http, namespace, body, "portal").json()["message"])
    )
    body["spec"]["template"]["spec"]["containers"] = [{"name": "a", "image": "b:1"}] * 2
    message = apply(http, namespace, body, "portal").json()["message"]
    assert message.endswith('.spec.template.spec.containers: duplicate entries for key [name="a"]')


def test_a_bad_quantity_is_refused_by_apply_too(http, namespace):
    body = config()
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1x"}}
    answer = apply(http, namespace, body, "portal")
    assert answer.status_code == 500
    assert "quantities must match the regular expression" in answer.json()["message"]


def test_apply_needs_a_manager_and_other_patches_take_no_force(http, namespace):
    path = f"api/v1/namespaces/{namespace}/configmaps/c"
    shell = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    answer = http("PATCH", path, shell, APPLY)
    assert "fieldManager: Required value: is required for apply patch" in answer.json()["message"]
    answer = http("PATCH", path, {}, MERGE, force="true")
    assert "force: Forbidden: may not be specified for non-apply patch" in answer.json()["message"]


def test_a_dry_run_of_apply_stores_nothing(http, namespace):
    answer = apply(http, namespace, config(replicas=2), "portal", dryRun="All")
    assert (answer.status_code, answer.json()["spec"]["replicas"]) == (201, 2)
    assert http("GET", f"apis/apps/v1/namespaces/{namespace}/deployments/web").status_code == 404


def test_selectors_are_owned_as_a_whole(http, namespace):
    made = apply(http, namespace, config(), "portal").json()
    assert owners(made)[("portal", "Apply")]["f:spec"]["f:selector"] == {}
