"""The Kubernetes client: a kubeconfig is data, few verbs, driver errors translated where they occur."""

from __future__ import annotations

import base64
import copy
import json
import tempfile
from pathlib import Path

import pytest

from compute.cluster import BadKubeconfig, Gone, InvalidObject, Refused, Unauthorized, connect, validate
from compute.cluster.kubeconfig import AKS_SERVER, parse
from portal.outbound import AddressRefused
from portal.problems import Retryable
from tests.compute.certificate import certificate

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "n"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]},
        },
    },
}


@pytest.fixture
def cluster(azure):
    return connect(azure.kubeconfig())


def changed(azure, change):
    document = json.loads(azure.kubeconfig())
    change(document["clusters"][0]["cluster"], document["users"][0]["user"])
    return json.dumps(document).encode()


def kubelogin(azure, **changes):
    """The kubeconfig as AKS gives it for a cluster with Entra sign-in."""
    args = ["get-token", "--environment", "AzurePublicCloud", "--server-id", AKS_SERVER, "--client-id", "c"]
    program = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin", "args": args} | changes
    return changed(azure, lambda cluster, user: (user.clear(), user.update({"exec": program})))


def test_kubelogin_is_understood_and_each_request_has_the_credentials_present_token(azure):
    tokens = iter(["first", "second", "third"])
    cluster = connect(kubelogin(azure), entra=lambda: next(tokens))
    azure.kube_token = "first"
    assert cluster.version() == "v1.33.6"
    azure.kube_token = "second"
    assert len(cluster.observe("Node")) == 0
    with pytest.raises(Unauthorized):
        cluster.observe("Node")


def test_kubelogin_without_a_credential_or_for_another_server_and_other_programs_are_refused(azure):
    with pytest.raises(BadKubeconfig, match="no Azure credential"):
        connect(kubelogin(azure))
    for change in ({"command": "/tmp/kubelogin"}, {"args": ["--server-id", "other"]}, {"args": ["--server-id"]}):
        with pytest.raises(BadKubeconfig, match="exec, which is not kubelogin"):
            parse(kubelogin(azure, **change))
    with pytest.raises(BadKubeconfig, match="exec"):
        parse(changed(azure, lambda cluster, user: user.update({"exec": "kubelogin"})))
    assert parse(kubelogin(azure, args=[f"--server-id={AKS_SERVER}"])).by_entra


@pytest.mark.parametrize(
    ("where", "entry"),
    [
        ("user", {"exec": {"command": "rm"}}), ("user", {"auth-provider": {"name": "x"}}),
        ("user", {"tokenFile": "/etc/passwd"}), ("user", {"client-certificate": "/a"}), ("user", {"client-key": "/a"}),
        ("user", {"username": "u", "password": "p"}), ("cluster", {"proxy-url": "http://x"}),
        ("cluster", {"certificate-authority": "/a"}), ("cluster", {"insecure-skip-tls-verify": True}),
    ],
)  # fmt: skip
def test_a_kubeconfig_that_would_run_programs_or_read_files_is_refused(azure, where, entry):
    content = changed(azure, lambda cluster, user: (user if where == "user" else cluster).update(entry))
    with pytest.raises(BadKubeconfig, match=next(iter(entry))):
        parse(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff\xfe", b"a: &x 1\nb: *x", b"{" * 300, b"x" * 300_000, b'{"current-context": "nope"}'],
)
def test_what_is_no_kubeconfig_is_refused(content):
    with pytest.raises(BadKubeconfig):
        parse(content)


def test_a_kubeconfig_without_a_credential_or_with_a_bad_ca_is_refused(azure):
    with pytest.raises(BadKubeconfig, match="neither a token"):
        parse(changed(azure, lambda cluster, user: user.clear()))
    with pytest.raises(BadKubeconfig, match="base64"):
        parse(changed(azure, lambda cluster, user: cluster.update({"certificate-authority-data": "???"})))


def test_the_servers_address_is_checked_like_any_that_a_person_gave(azure, settings):
    content = azure.kubeconfig()
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(AddressRefused):
        connect(content)


def test_the_token_is_in_no_repr(azure):
    assert azure.kube_token not in repr(parse(azure.kubeconfig()))


def test_another_ca_than_the_kubeconfigs_is_not_trusted(azure, tmp_path):
    other = base64.b64encode(certificate(tmp_path)[0].encode()).decode()
    cluster = connect(changed(azure, lambda cluster, user: cluster.update({"certificate-authority-data": other})))
    with pytest.raises(Retryable, match="shows a certificate that the kubeconfig's CA and name do not fit"):
        cluster.version()
    assert azure.asked == []


def test_a_server_of_another_name_is_not_trusted(azure):
    cluster = connect(changed(azure, lambda cluster, user: cluster.update({"tls-server-name": "other.example.com"})))
    with pytest.raises(Retryable, match="Hostname mismatch"):
        cluster.version()
    assert azure.asked == []


def test_a_client_certificate_leaves_no_file_behind(azure, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    certificate(tmp_path)
    pair = {
        f"client-{name}-data": base64.b64encode((tmp_path / file).read_bytes()).decode()
        for name, file in (("certificate", "c.pem"), ("key", "k.pem"))
    }
    cluster = connect(changed(azure, lambda cluster, user: (user.clear(), user.update(pair))))
    with pytest.raises(Unauthorized):  # this API server takes tokens only
        cluster.version()
    assert list(Path(tmp_path / "t").iterdir()) == []


def test_proxy_variables_are_ignored_towards_this_machine(cluster, monkeypatch, azure):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert connect(azure.kubeconfig()).version() == "v1.33.6"


def test_apply_is_server_side_with_our_manager_strict_and_forces_nobody(cluster, azure):
    cluster.apply([DEPLOYMENT])
    method, path = azure.asked[-1]
    assert (method, path.partition("?")[0]) == ("PATCH", "/apis/apps/v1/namespaces/n/deployments/web")
    for part in ("fieldManager=slipway", "fieldValidation=Strict", "force=false"):
        assert part in path


def test_nothing_is_sent_when_one_object_is_wrong(cluster, azure):
    wrong = copy.deepcopy(DEPLOYMENT)
    wrong["spec"]["replicsa"] = 1
    with pytest.raises(InvalidObject, match="replicsa"):
        cluster.apply([DEPLOYMENT, wrong])
    assert not [method for method, _ in azure.asked if method == "PATCH"]


def _change(path, value):
    def run(obj):
        for key in path[:-1]:
            obj = obj[key]
        obj[path[-1]] = value

    return run


BOX = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_change(("spec", "replicas"), "three"), "three"),
        (_change((*BOX, "resources", "requests", "cpu"), "1x"), "not a quantity"),
        (_change(("metadata", "name"), "Web_1"), "lower-case"),
        (_change(("metadata", "labels"), {"a": "not ok!"}), "label value"),
        (_change(("metadata", "annotations"), {"x/": "v"}), "annotations"),
        (_change(("apiVersion",), "apps/v9"), "no kind Deployment"),
        (_change(("kind",), ""), "needs apiVersion, kind"),
    ],
)
def test_wrong_objects_are_refused_by_name_and_field(change, words):
    wrong = copy.deepcopy(DEPLOYMENT)
    change(wrong)
    with pytest.raises(InvalidObject, match=words):
        validate(wrong, "v1.33.6")


@pytest.mark.parametrize("version", ["v1.29.0", "1.35.2", "v1.99.0", "1.20", "odd"])
def test_validation_takes_the_nearest_version_that_has_schemas(version):
    validate(DEPLOYMENT, version)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, {"message": "failed to create typed patch object (n/web): .spec.x: field not declared"}, Refused),
        (409, {"message": "Apply failed with 1 conflict"}, Refused), (422, {"message": "immutable"}, Refused),
        (403, {"message": "forbidden"}, Refused), (404, {"message": "namespaces \"n\" not found"}, Gone),
        (503, {"message": "etcd"}, Retryable), (500, {"message": "boom"}, Retryable), (429, {}, Retryable),
        (302, {"message": "go there"}, Refused),
    ],
)  # fmt: skip
def test_refusals_are_problems_with_the_servers_words_and_trouble_is_retryable(cluster, azure, status, body, expected):
    cluster.version()
    azure.fail("kube", (status, body, {"Location": "https://127.0.0.1:1/", "Retry-After": "3"}))
    with pytest.raises(expected) as caught:
        cluster.apply([DEPLOYMENT])
    assert body.get("message", "") in caught.value.detail
    if expected is not Retryable:
        assert "Deployment web" in caught.value.detail
    if status == 429:
        assert caught.value.after == 3


def test_a_401_is_tried_once_more_with_a_fresh_kubeconfig(azure):
    old = azure.kubeconfig()
    azure.kube_token = "kube-2"
    with pytest.raises(Unauthorized):
        connect(old).version()
    assert connect(old, renew=azure.kubeconfig).version() == "v1.33.6"


def test_observe_follows_pages_and_gives_kind_and_version(cluster, azure):
    pods = ({"metadata": {"name": f"p{i}", "labels": {"a": "b"}}} for i in range(1101))
    azure.objects |= {f"/api/v1/namespaces/n/pods/{pod['metadata']['name']}": pod for pod in pods}
    found = cluster.observe("Pod", namespace="n", selector="a=b")
    assert len(found) == 1101
    assert (found[0]["kind"], found[0]["apiVersion"]) == ("Pod", "v1")
    assert "labelSelector=a%3Db" in azure.asked[-1][1]


def test_observing_what_is_absent_gives_nothing(cluster, azure):
    azure.fail("kube", (404, {"message": "not found"}))
    assert cluster.observe("Secret", namespace="n", name="s") == []


def test_remove_takes_names_or_selectors_never_all_and_what_is_missing_is_fine(cluster, azure):
    azure.objects["/api/v1/namespaces/n/configmaps/c"] = {"metadata": {"name": "c", "labels": {"a": "b"}}}
    cluster.remove("ConfigMap", namespace="n", selector="a=b")
    assert azure.objects == {}
    cluster.remove("ConfigMap", namespace="n", name="c")
    with pytest.raises(ValueError):
        cluster.remove("ConfigMap", namespace="n")


def test_logs_of_a_container_that_has_none_yet_are_empty(cluster, azure):
    azure.fail("kube", (200, b"one\ntwo\n"), (400, {"message": "waiting to start"}), (404, {"message": "gone"}))
    assert cluster.logs("n", "p", "c", tail=7, previous=True) == "one\ntwo\n"
    assert "tailLines=7" in azure.asked[-1][1]
    assert "previous=true" in azure.asked[-1][1]
    assert cluster.logs("n", "p", "c") == ""
    assert cluster.logs("n", "p", "c") == ""


def test_scale_annotate_and_proxy_reach_their_paths(cluster, azure):
    azure.objects["/api/v1/namespaces/n/pods/p"] = {"metadata": {"name": "p", "labels": {"a": "b"}}}
    cluster.scale("n", "web", 3)
    assert azure.objects["/apis/apps/v1/namespaces/n/deployments/web/scale"]["spec"] == {"replicas": 3}
    cluster.annotate("n", "a=b", "slipway.dev/seen", "1")
    assert azure.objects["/api/v1/namespaces/n/pods/p"]["metadata"]["annotations"] == {"slipway.dev/seen": "1"}
    azure.fail("kube", (200, b"stats"))
    assert cluster.proxy("n", "p", 9901, "/stats?format=json", headers={"X-Secret": "s"}) == b"stats"
    assert azure.asked[-1][1] == "/api/v1/namespaces/n/pods/p:9901/proxy/stats?format=json"
