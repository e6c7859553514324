"""How many requests the pretend ARM takes, as the real one tells and enforces it."""

import pytest
from cloud import SUB, Cloud

from compute.sandbox.arm.limits import Limits


class Watch:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("method", "kind", "burst", "rate"),
    [
        ("GET", "reads", 250, 25),
        ("PUT", "writes", 200, 10),
        ("POST", "writes", 200, 10),
        ("DELETE", "deletes", 200, 10),
    ],
)
def test_a_bucket_has_its_documented_size_and_fills_at_its_documented_rate(method, kind, burst, rate):
    watch = Watch()
    limits = Limits(watch)
    assert limits.header("one", method) == (f"x-ms-ratelimit-remaining-subscription-{kind}", str(burst))
    assert [limits.take("one", method) for _ in range(burst)] == [0.0] * burst
    assert limits.take("one", method) == pytest.approx(1 / rate)
    assert limits.header("one", method)[1] == "0"
    assert limits.take("two", method) == 0.0
    watch.now += 1
    assert limits.header("one", method)[1] == str(rate)


@pytest.fixture
def cloud(tmp_path):
    """One that counts as Azure does; the others of this folder take more, as tests ask faster than people."""
    made = Cloud(tmp_path)
    made.env["SANDBOX_REQUEST_FACTOR"] = "1"
    yield made.start()
    made.stop()


def test_what_comes_past_the_bucket_is_answered_429_with_the_time_to_wait(cloud):
    path = f"/subscriptions/{SUB}?api-version=1"
    answers = []
    while len(answers) < 900 and (not answers or answers[-1].status_code != 429):
        answers.append(cloud.ask("GET", path))
    assert (answers[-1].status_code, answers[-1].headers["Retry-After"]) == (429, "1")
    assert answers[-1].json()["error"]["code"] == "SubscriptionRequestsThrottled"
    assert answers[0].headers["x-ms-ratelimit-remaining-subscription-reads"] == "249"
    assert answers[-1].headers["x-ms-ratelimit-remaining-subscription-reads"] == "0"
    assert len(answers) > 250
