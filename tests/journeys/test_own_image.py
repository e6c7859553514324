"""An image of one's own from a registry that asks for a login: refused with the sentence, then pulled and scoring."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.journeys.crash.house import ENDED, SCRIPT, House, follow, score, until

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
OWN, PASSWORD = "r.example.com/team/own:1", "pa55~of~robot"


def ended(api: Any, url: str) -> dict[str, Any]:
    """The operation once it has ended."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(url)
        return found if found["state"] in ENDED else None

    return dict(until(look, 90, f"{url} has ended"))


def test_an_own_image_is_pulled_with_the_login_of_its_registry_and_a_wrong_one_says_so(told: House) -> None:
    api = told.api()
    known = next(each for each in api.get("environments/")["items"] if ".azurecr.io/" in each["image"])  # a built one
    told.admin("PUT", f"images/{OWN}", {"of": known["image"], "username": "robot", "password": PASSWORD})
    target = api.get("endpoints/")["items"][0]["compute_target"]
    for name, image in (("own", OWN), ("nowhere", "r.example.com/team/nothing:1")):
        api.call("POST", "environments/", {"name": name, "image": image})
    api.upload("models/", {"name": "namer", "paths": "name.txt"}, ("name.txt", b"one"))
    wish = {
        "name": "own", "compute_target": target, "models": ["namer:1"], "entry_script": "score.py",
        "code": {"files": {"score.py": SCRIPT}}, "deployment_config": {"numReplicas": 1, "authEnabled": False},
    }  # fmt: skip

    lost = ended(api, api.call("POST", "services/", {**wish, "name": "nowhere", "environment": "nowhere:1"})["url"])
    assert (lost["state"] in ("Failed", "RolledBack"), "nothing:1" in lost["error"]["detail"]) == (True, True), lost
    api.do("DELETE", "services/nowhere/")

    making = api.call("POST", "services/", {**wish, "environment": "own:1"})["url"]
    denied = ended(api, making)
    assert OWN in denied["error"]["detail"], denied
    api.call("PUT", "registries/r.example.com/", {"username": "robot", "password": PASSWORD})
    follow(api, api.call("POST", f"{making}retry/")["url"])
    assert score(api.get("services/own/")["scoring_uri"]) == {"model": "one"}
    assert PASSWORD not in json.dumps([api.get(making), api.get("audit/"), api.get("registries/")])
    for log in told.file("logs").glob("*"):
        assert PASSWORD not in log.read_text(errors="replace")
    api.do("DELETE", "services/own/")
