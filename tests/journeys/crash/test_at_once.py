"""Two endpoints of one cluster are changed at once, a hundred times each: both end as last set."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from portal.launcher.demo import traffic
from portal.launcher.demo.client import Api
from tests.journeys.crash.house import Caller, House, follow, move, what

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
CHANGES, SECONDS = 100, 120  # half of it on a quiet machine with two cores, without waiting for anything but work


def add_endpoint(api: Api, cluster: str) -> str:
    """An endpoint `other` with v1 and v2 beside `main`; its key."""
    api.do("POST", "endpoints/", {"name": "other", "compute_target": cluster, "version": "v1", **what("namer:1")})
    api.do("POST", "endpoints/other/versions/", {"version": "v2", "traffic_percentile": 0, **what("namer:2")})
    return str(api.call("POST", "endpoints/other/keys/")["primary"])


def change(api: Api, endpoint: str, last: int) -> None:
    """A hundred shares of v2, each in effect before the next is asked for; the last one is `last`."""
    for share in [*((number * 37 + last) % 101 for number in range(1, CHANGES)), last]:
        follow(api, move(api, endpoint, share)["url"], pause=0.02)


def answers(api: Api, endpoint: str, key: str) -> Counter[str]:
    """Which version answered how many of 100 requests."""
    uri = api.get(f"endpoints/{endpoint}/")["scoring_uri"]
    link = traffic.connect(uri)
    counted = Counter(traffic.ask(link, uri, key, b"{}")[0] for _ in range(100))
    link.close()
    return counted


def test_two_endpoints_of_one_cluster_changed_at_once_both_end_as_last_set(
    house: House, caller: Caller, cluster: str
) -> None:
    api = house.api()
    keys = {"main": caller.key, "other": add_endpoint(api, cluster)}
    last = {"main": 100, "other": 0}
    caller.failures.clear()
    with caller.scoring(), ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(change, house.api(), name, share) for name, share in last.items()]:
            done.result()
    for name, share in last.items():
        shown = api.get(f"endpoints/{name}/")["versions"]
        assert (shown["v2"]["configured_share"], shown["v2"]["effective_share"]) == (share, share)
        assert answers(api, name, keys[name]) == {"v2" if share else "v1": 100}
    assert caller.failures == []
