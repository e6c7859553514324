"""A home whose workspace signs in over TLS with a client secret: the code path of a real subscription."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.crash.house import House, target
from tests.journeys.test_contract import Answer, Rest, follow

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
APP, SECRET = "aaaaaaaa-0000-4000-a000-00000000000b", "a secret~of the app"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("entra") / "home")
    try:
        made.run("up", "--detach")
        yield made
    finally:
        made.run("down")


def switch(house: House, rest: Rest, known: dict[str, Any]) -> Answer:
    """Give the workspace the app's secret, and the sandbox's TLS address as Azure and as token authority."""
    role = {"scope": f"/subscriptions/{known['subscription_id']}", "role": "Owner"}
    tenant = house.admin("PUT", f"principals/{APP}", {"secret": SECRET, "roles": [role]})["tenant_id"]
    secure = f"https://127.0.0.1:{json.loads(house.file('home.json').read_text())['ports']['kube']}"
    credential = {"kind": "client_secret", "tenant_id": tenant, "client_id": APP, "client_secret": SECRET}
    body = {
        "arm_endpoint": secure, "arm_ca_file": str(house.file("tls", "ca.pem")),
        "credential": {**credential, "authority_host": secure},
    }  # fmt: skip
    return rest.ask("", "PATCH", body)


def done(rest: Rest, answer: Answer) -> None:
    assert answer.status == 202, answer.text
    where = answer.headers["Location"]
    assert follow(rest, where)[-1] == "Succeeded", rest.ask(where).text


def test_a_cluster_is_made_scaled_and_deleted_with_a_client_secret_and_tokens_that_end_in_the_middle(
    house: House,
) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest = Rest(known)
    changed = switch(house, rest, known)
    assert changed.status == 200, changed.text
    assert changed.json()["credential"]["kind"] == "client_secret"
    tested = rest.ask("azure/test/", "POST").json()
    assert tested["passes"], tested
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size

    made = rest.ask("compute-targets/", "POST", target("entra"))
    house.admin("POST", "clock", {"advance": 3700})  # every token so far is over, and we do not know
    done(rest, made)
    scaled = rest.ask("compute-targets/entra/scale/", "POST", {"node_count": target("entra")["node_count"] + 1})
    house.admin("POST", "clock", {"advance": 3700})
    done(rest, scaled)
    done(rest, rest.ask("compute-targets/entra/", "DELETE"))

    lines = [line for line in house.noted("arm", start) if "/managedclusters/" in line["path"].lower()]
    assert [line["method"] for line in lines] == ["PUT", "PUT", "DELETE"]
    assert {line["user"] for line in lines} == {APP}
    for log in house.file("logs").glob("*"):
        assert SECRET not in log.read_text(errors="replace"), log


def test_a_secret_that_ended_fails_the_operation_with_entras_words_and_leaves_no_lock(house: House) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest = Rest(known)
    assert switch(house, rest, known).status == 200
    house.admin("PUT", f"principals/{APP}", {"secret": "another one"})
    house.admin("POST", "clock", {"advance": 3700})
    made = rest.ask("compute-targets/", "POST", target("late"))
    where = made.headers["Location"]
    assert follow(rest, where)[-1] in ("Failed", "RolledBack")
    error = rest.ask(where).json()["error"]
    assert "AADSTS7000215" in error["detail"], error
    assert SECRET not in json.dumps(error)
    (found,) = rest.ask("azure/test/", "POST").json()["findings"]
    assert "AADSTS7000215" in found["message"]
    assert switch(house, rest, known).status == 200
    done(rest, rest.ask("compute-targets/late/", "DELETE"))
