"""Each way in which Azure fails, on a real home: the operation ends right, says why, leaves no lock and asks once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.crash.house import House, target
from tests.journeys.on_azure.conftest import ended
from tests.journeys.test_contract import Rest

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
INNER = {"code": "VMExtensionError_K8SAPIServerConnFail", "message": "Node agents cannot reach the API server."}


@dataclass(frozen=True)
class Trouble:
    """A fault of the pretend Azure, and what has to come of the operation that meets it."""

    fault: str
    spec: dict[str, Any]
    words: tuple[str, ...] = ()
    row: str = "Succeeded"
    puts: int = 1

    @property
    def is_fatal(self) -> bool:
        """Whether the operation fails."""
        return bool(self.words)


PASSES = {
    "the answer to an accepted PUT is lost": Trouble("arm.drop", {"when": "after", "method": "PUT", "count": 1}),
    "the connection drops before a PUT": Trouble("arm.drop", {"when": "before", "method": "PUT", "count": 1}),
    "throttled with Retry-After": Trouble("arm.throttle", {"access": "write", "count": 2, "retry_after": 1}),
    "throttled without it": Trouble("arm.throttle", {"target": "operation", "count": 1, "retry_after": None}),
    "a gateway answers 503 with a page": Trouble("arm.unavailable", {"body": "html", "count": 2}),
    "the operation URL is gone": Trouble("arm.operation_gone", {"count": 1}),
    "words that nobody knows": Trouble("arm.statuses", {"words": ["Polishing", "Kneading"]}),
    "an error beside Succeeded": Trouble("arm.error_beside", {"when": "succeeded", "count": 1, "code": "Odd"}),
}
FAILS = {
    "late, with an inner reason": Trouble(
        "arm.late_failure", {"count": 1, "code": "ReconcileError", "message": "Failed.", "inner": INNER},
        (INNER["code"], INNER["message"]), "Failed",
    ),
    "a token that nobody can renew ends in the middle": Trouble(
        "arm.token_expired", {"target": "operation", "count": 1},
        ("does not take the token of the workspace's credential",), "Failed",
    ),
    "canceled in Azure": Trouble("arm.canceled", {"count": 1, "message": "Somebody stopped it."},
                                 ("Somebody stopped it.",), "Failed"),
    "too little quota": Trouble("arm.quota", {"count": 1, "left": 1}, ("quota",), "Failed", puts=0),
    "a policy forbids it": Trouble(
        "arm.answer", {"method": "PUT", "count": 1, "status": 403, "json": {"error": {
            "code": "RequestDisallowedByPolicy", "message": "Resource was disallowed by policy."}}},
        ("RequestDisallowedByPolicy", "disallowed by policy"), "Failed", puts=0,
    ),
}  # fmt: skip


def named(name: str) -> str:
    """A compute target's name for a case."""
    return f"odd-{[*PASSES, *FAILS].index(name)}"


def created(house: House, rest: Rest, name: str, trouble: Trouble) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A create that meets the trouble: its operation, and what changed in Azure meanwhile."""
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    house.admin("PUT", f"faults/{trouble.fault}", trouble.spec)
    try:
        operation = ended(rest, rest.ask("compute-targets/", "POST", target(name)))
        left = house.admin("GET", "faults")
    finally:
        house.admin("DELETE", "faults")
    assert "count" not in trouble.spec or not left, f"it did not strike: {left}"
    return operation, house.noted("arm", start)


def removed(rest: Rest, name: str) -> None:
    """The target goes, which a lock would forbid."""
    assert rest.ask(f"compute-targets/{name}/").json()["operation"] is None
    assert ended(rest, rest.ask(f"compute-targets/{name}/", "DELETE"))["state"] == "Succeeded"
    assert rest.ask(f"compute-targets/{name}/").status == 404


@pytest.mark.parametrize("name", PASSES)
def test_trouble_that_passes_is_waited_out_and_the_cluster_asked_for_once(name: str, house: House, rest: Rest) -> None:
    cluster = named(name)
    operation, changes = created(house, rest, cluster, PASSES[name])
    assert operation["state"] == "Succeeded", operation["error"]
    assert [change["method"] for change in changes] == ["PUT"]
    assert rest.ask(f"compute-targets/{cluster}/").json()["state"] == "Succeeded"
    removed(rest, cluster)


@pytest.mark.parametrize("name", FAILS)
def test_a_failure_ends_with_azures_reason_and_without_a_lock(name: str, house: House, rest: Rest) -> None:
    trouble = FAILS[name]
    cluster = named(name)
    operation, changes = created(house, rest, cluster, trouble)
    assert operation["state"] in ("Failed", "RolledBack"), operation
    for word in trouble.words:
        assert word in operation["error"]["detail"], operation["error"]
    assert len(changes) == trouble.puts
    row = rest.ask(f"compute-targets/{cluster}/").json()
    assert row["state"] == trouble.row
    assert trouble.words[0] in row["reason"]
    removed(rest, cluster)
