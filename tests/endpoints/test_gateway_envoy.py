"""The gateway's files in a real Envoy: accepted strictly, and doing what they say."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from compute import certificates
from endpoints import counters, gateway, keys
from endpoints.pod import companion
from endpoints.types import AuthMode
from tests.endpoints.box import ADDRESS, BLOCK, Box, Replica, view

ONE, TWO = "primary-key-1234567", "secondary-key-12345"
PAIR = keys.new_signing_pair()
JWKS = keys.jwks([PAIR.public_jwk])


def version(name: str, weight: int, **more: object) -> gateway.VersionView:
    return gateway.VersionView(name, f"ws-a/{name}", weight, **more)  # type: ignore[arg-type]


def endpoint(name: str = "iris", *versions: gateway.VersionView, auth: AuthMode = AuthMode.KEY) -> gateway.EndpointView:
    given = (("primary", f"{ONE}{name}"), ("secondary", f"{TWO}{name}")) if auth == AuthMode.KEY else ()
    return gateway.EndpointView(name, auth, f"slipway:endpoint:{name}", given, versions)


@pytest.fixture(scope="module")
def replicas() -> Iterator[dict[str, Replica]]:
    made = {name: Replica(name, f"{BLOCK}.{i}") for i, name in enumerate(("a", "b", "slow"), 11)}
    yield made
    for replica in made.values():
        replica.shutdown()
        replica.server_close()


@pytest.fixture(scope="module")
def box(replicas: dict[str, Replica], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    made = Box(tmp_path_factory.mktemp("gateway"))
    for name, replica in replicas.items():
        made.replicas(f"ws-a/{name}", replica)
    made.replicas("ws-a/empty")
    certificate, key = certificates.make([ADDRESS], datetime.now(UTC))
    with made.running(picture(certificate=certificate, key=key)) as running:
        yield running


def picture(
    shares: tuple[int, int] = (9000, 1000), certificate: str = "", key: str = "", **more: object
) -> gateway.GatewayView:
    found = [
        endpoint("iris", version("a", shares[0], queue=128), version("b", shares[1], queue=128)),
        endpoint("other", version("a", 10000)),
        endpoint("token", version("a", 10000), auth=AuthMode.TOKEN),
        endpoint("open", version("a", 10000), auth=AuthMode.NONE),
        endpoint("slow", version("slow", 10000, timeout_ms=700, queue=2), auth=AuthMode.NONE),
        endpoint("empty", version("empty", 10000), auth=AuthMode.NONE),
        endpoint("loading", version("a", 0, is_routed=False), auth=AuthMode.NONE),
    ]
    if not certificate:
        certificate, key = certificates.make([ADDRESS], datetime.now(UTC))
    return view(*found, jwks=JWKS, tls_certificate=certificate, tls_key=key)


def token(audience: str, **more: object) -> str:
    given = {
        "private_pem": PAIR.private_pem,
        "kid": PAIR.kid,
        "now": datetime.now(UTC),
        "life": timedelta(hours=1),
        **more,
    }
    return keys.sign(audience=audience, subject="u", **given).access_token  # type: ignore[arg-type]


def test_both_keys_work_at_once_and_the_model_sees_neither(box: Box) -> None:
    for key in (f"{ONE}iris", f"{TWO}iris"):
        status, _, body = box.score("iris", key, {"x": [1, 2]})
        seen = json.loads(body)
        assert status == 200
        assert (seen["path"], seen["body"]) == ("/score", '{"x": [1, 2]}')
        assert key not in json.dumps(seen["headers"])


def test_without_a_key_401_and_with_another_services_key_403(box: Box) -> None:
    assert box.score("iris")[0] == 401
    assert box.score("iris", "wrong-key-1234567890")[0] == 401
    assert box.score("iris", f"{ONE}other")[0] == 403


def test_every_answer_names_the_version_that_gave_it(box: Box) -> None:
    for _ in range(5):
        _, headers, body = box.score("iris", f"{ONE}iris")
        assert headers["azureml-model-deployment"] == json.loads(body)["name"]


def test_a_caller_may_force_a_version_and_an_unknown_one_is_404(box: Box) -> None:
    for name in ("a", "b"):
        _, headers, body = box.score("iris", f"{ONE}iris", version=name)
        assert headers["azureml-model-deployment"] == json.loads(body)["name"] == name
    status, _, body = box.score("iris", f"{ONE}iris", version="zzz")
    assert (status, json.loads(body)["error"]["message"]) == (404, "There is no such version.")
    assert box.score("iris", version="zzz")[0] == 401


def test_an_unknown_path_is_404_and_tells_nothing(box: Box) -> None:
    for path in ("/", "/api/v1/service/nobody/score", "/api/v1/service/iris/", "/api/v1/service/iris/other", "/stats"):
        status, headers, body = box.call(path, "GET")
        assert (status, json.loads(body)["error"]["message"]) == (404, "There is nothing here.")
        assert "iris" not in str(headers)


def test_swagger_is_passed_on_with_the_same_key(box: Box) -> None:
    path = "/api/v1/service/iris/swagger.json"
    status, _, body = box.call(f"{path}?version=3", "GET", headers={"authorization": f"Bearer {ONE}iris"})
    assert (status, json.loads(body)["path"]) == (200, "/swagger.json?version=3")
    assert box.call(path, "GET")[0] == 401


def test_tokens_are_bound_to_one_service_and_need_a_signature_of_ours(box: Box) -> None:
    good = token("slipway:endpoint:token")
    stranger = keys.new_signing_pair()
    assert box.score("token", good)[0] == 200
    assert box.score("token", token("slipway:endpoint:iris"))[0] == 403
    assert (
        box.score("token", token("slipway:endpoint:token", private_pem=stranger.private_pem, kid=stranger.kid))[0]
        == 401
    )
    assert box.score("token", token("slipway:endpoint:token", now=datetime.now(UTC) - timedelta(hours=2)))[0] == 401
    assert box.score("token")[0] == 401
    assert box.score("iris", good)[0] == 401


def test_auth_disabled_is_open_and_a_claimed_identity_is_removed(box: Box) -> None:
    status, _, body = box.call("/api/v1/service/open/score", "POST", {}, {"x-auth-client": "iris/primary"})
    assert status == 200
    assert "x-auth-client" not in json.loads(body)["headers"]


def test_past_the_scoring_timeout_the_request_gets_504(box: Box) -> None:
    status, headers, body = box.score("slow", body={"sleep": 1.5})
    assert (status, headers["x-slipway-reason"]) == (504, "timeout")
    assert "scoring timeout" in json.loads(body)["error"]["message"]


def test_past_the_queue_the_request_gets_503_with_retry_after_and_a_reason(box: Box) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: box.score("slow", body={"sleep": 0.15}), range(12)))
    refused = [headers for status, headers, _ in answers if status == 503]
    assert {status for status, *_ in answers} == {200, 503}
    assert len(refused) >= 6
    assert {(headers["retry-after"], headers["x-slipway-reason"]) for headers in refused} == {("1", "overflow")}


def test_without_a_ready_replica_503_says_so(box: Box) -> None:
    status, headers, body = box.score("empty")
    assert (status, headers["x-slipway-reason"], headers["azureml-model-deployment"]) == (503, "no-replica", "empty")
    assert "No replica" in json.loads(body)["error"]["message"]


@pytest.fixture
def beside(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """Work beside the test in the gateway's folder, where a drain is called off afterwards."""
    monkeypatch.chdir(box.folder)
    with ThreadPoolExecutor(2) as pool:
        yield pool
    companion.Admin("envoy", timeout=5).ask("POST", "/healthcheck/ok")
    for name in ("draining", "drained"):
        (box.folder / "run" / name).unlink(missing_ok=True)


def test_a_drain_sends_callers_elsewhere_and_waits_for_a_score_under_way(box: Box, beside: ThreadPoolExecutor) -> None:
    draining, drained = box.folder / "run" / "draining", box.folder / "run" / "drained"
    score = beside.submit(box.score, "open", "", {"sleep": 1.2})
    time.sleep(0.3)
    assert "connection" not in box.call("/")[1]
    drain = beside.submit(companion.drain, 0.1, 20, 20)
    until = time.monotonic() + 5
    while box.call("/")[1].get("connection") != "close":
        assert time.monotonic() < until
    assert draining.exists()
    assert not score.done()
    assert not drained.exists()
    drain.result()
    assert score.result(0.5)[0] == 200
    assert drained.exists()


def test_a_drain_waits_for_callers_that_keep_their_connection_until_their_next_request(
    box: Box, beside: ThreadPoolExecutor
) -> None:
    kept = http.client.HTTPConnection(ADDRESS, 8080, timeout=5)
    kept.request("GET", "/")
    assert kept.getresponse().read()
    drain = beside.submit(companion.drain, 0.3, 20, 20)
    time.sleep(1)
    assert not drain.done()
    kept.request("GET", "/")
    answer = kept.getresponse()
    assert (answer.status, answer.getheader("connection")) == (404, "close")
    answer.read()
    drain.result(2)


def test_a_drain_goes_on_while_new_callers_come_and_is_not_held_up_by_probes(
    box: Box, beside: ThreadPoolExecutor
) -> None:
    drain = beside.submit(companion.drain, 0.5, 20, 20)
    for _ in range(8):
        assert box.call("/")[0] == 404
        time.sleep(0.15)
    assert not drain.done()
    until = time.monotonic() + 5
    while not drain.done():
        assert time.monotonic() < until
        socket.create_connection((ADDRESS, 8080), timeout=1).close()
        time.sleep(0.05)


@pytest.mark.parametrize("limits", [(0.1, 0.3, 20), (0.1, 20, 0.5)])
def test_a_drain_is_given_up_after_the_longest_time(
    box: Box, beside: ThreadPoolExecutor, limits: tuple[float, ...]
) -> None:
    kept, score = http.client.HTTPConnection(ADDRESS, 8080, timeout=5), None
    kept.connect()
    if limits[2] < 1:
        score = beside.submit(box.score, "open", "", {"sleep": 1.5})
        time.sleep(0.3)
    companion.drain(*limits)
    assert score is None or not score.done()
    assert (box.folder / "run" / "drained").exists()
    kept.close()
    assert score is None or score.result()[0] == 200


def test_without_the_secret_the_numbers_name_nothing_and_no_query_widens_them(box: Box) -> None:
    assert box.score("iris", f"{ONE}iris")[0] == 200
    status, _, body = box.probe("/metrics", secret="")
    names = {line.split("{")[0].split(" ")[0] for line in body.decode().splitlines() if line and line[0] != "#"}
    assert status == 200
    assert {"envoy_http_downstream_rq_total", "envoy_http_downstream_cx_active", "envoy_server_uptime"} <= names
    assert all(name.startswith(("envoy_http_downstream_", "envoy_server_")) for name in names)
    assert b"iris" not in body
    for path in ("/metrics?filter=.*", "/metrics?", "/metrics/", "/metrics/../stats", "/stats", "/stats/prometheus"):
        assert box.probe(path, secret="")[0] == 404, path
    assert box.probe("/metrics", "POST", secret="")[0] == 404


def test_the_certificate_is_swapped_as_one_file_and_one_that_envoy_refuses_leaves_the_old(box: Box) -> None:
    box.publish(picture())
    box.wait(box.versions)
    good = dict(box.versions)
    bad = certificates.make([ADDRESS], datetime.now(UTC))[0], certificates.make([ADDRESS], datetime.now(UTC))[1]
    box.publish(picture(certificate=bad[0], key=bad[1]))
    time.sleep(0.5)
    assert gateway.expected(box.versions, box.stats("version_text")) == ["sds.json"]
    assert gateway.expected(good, box.stats("version_text")) == []
    box.publish(picture())
    box.wait(box.versions)


def test_a_version_that_is_only_loaded_takes_no_request(box: Box) -> None:
    assert box.score("loading")[0] == 404
    assert box.score("loading", version="a")[0] == 404


def test_the_numbers_need_the_secret_and_a_get_and_nothing_else_of_admin_is_reachable(box: Box) -> None:
    assert box.probe("/ready")[0] == 200
    assert box.probe("/stats", secret="")[0] == 404
    assert box.probe("/stats", secret="guess")[0] == 404
    assert box.probe("/stats", method="POST")[0] == 404
    assert {
        box.probe(path)[0] for path in ("/config_dump", "/clusters", "/quitquitquit", "/stats/../config_dump", "/")
    } == {404}
    assert (box.folder / "run" / "admin.sock").stat().st_mode & 0o777 == 0o600


def test_a_changed_split_is_served_within_a_second_and_counted_per_version(box: Box) -> None:
    before = box.stats("scoring.requests")
    files = box.publish(picture((3000, 7000)))
    box.wait(files.versions, seconds=1)
    with ThreadPoolExecutor(4) as pool:
        answers = Counter(
            h["azureml-model-deployment"] for _, h, _ in pool.map(lambda _: box.score("iris", f"{ONE}iris"), range(600))
        )
    assert 120 <= answers["a"] <= 240
    after = box.stats("scoring.requests")
    for name in ("a", "b"):
        counter = f"scoring.requests.ep.iris.ver.{name}.code.200"
        assert after[counter] - before.get(counter, 0) == answers[name]


def test_the_real_page_of_numbers_is_understood(box: Box) -> None:
    time.sleep(1.2)  # histograms are summed up once a second
    before = counters.parse(box.probe(counters.PATH)[2].decode())
    for _ in range(7):
        box.score("open")
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(box.score, "slow", "", {"sleep": 0.5}) for _ in range(2)]
        time.sleep(0.2)
        page = box.probe(counters.PATH)[2].decode()
        assert counters.gauges(page, counters.ACTIVE)["slow", "slow"] == 2
        ready = {
            ("iris", "a"),
            ("iris", "b"),
            ("other", "a"),
            ("token", "a"),
            ("open", "a"),
            ("slow", "slow"),
            ("loading", "a"),
        }
        assert counters.gauges(page, counters.HOSTS) == dict.fromkeys(ready, 1)
        assert {call.result()[0] for call in calls} == {200, 504}
    time.sleep(1.2)
    seen = counters.since(before, counters.parse(box.probe(counters.PATH)[2].decode()))
    tally = seen["open", "a", "200"]
    assert (tally.requests, max(tally.buckets.values())) == (7, 7)
    assert 0 < tally.seconds < 1
    assert 0.5 <= seen["slow", "slow", "200"].seconds < 0.7


def test_only_the_file_that_changed_gets_a_new_version(box: Box) -> None:
    certificate, key = "c", "k"
    first = gateway.build(picture((5000, 5000), certificate, key), 100, {})
    second = gateway.build(picture((4000, 6000), certificate, key), 101, first.versions)
    assert {name for name in first.versions if first.versions[name] != second.versions[name]} == {"rds.json"}
    assert second.versions["rds.json"].startswith("101-")


def test_keys_are_not_in_envoys_log_and_no_file_was_refused(box: Box) -> None:
    box.wait(box.publish(picture((6000, 4000))).versions)
    assert ONE not in box.log()
    assert "[error]" not in box.log()
    refused = {name for name, value in box.stats("update_rejected").items() if value}
    assert refused <= {"sds.edge.update_rejected"}  # another test here gives a pair that does not fit
