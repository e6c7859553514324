"""How many requests ARM takes of one principal: token buckets for reads, writes and deletes, as it documents them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_LIMITS = {"reads": (250.0, 25.0), "writes": (200.0, 10.0), "deletes": (200.0, 10.0)}


@dataclass
class _Bucket:
    left: float
    at: float


class Limits:
    """The buckets of every principal in the one subscription. They are full again after a restart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, factor: float = 1) -> None:
        self._clock, self._factor, self._buckets = clock, factor, dict[tuple[str, str], _Bucket]()

    def take(self, who: str, method: str) -> float:
        """Count a request: 0, or in how many seconds there is room for it again."""
        bucket, rate = self._filled(who, kind_of(method))
        if bucket.left < 1:
            return (1 - bucket.left) / rate
        bucket.left -= 1
        return 0.0

    def header(self, who: str, method: str) -> tuple[str, str]:
        """The header that says how many more of the kind may come now."""
        kind = kind_of(method)
        return f"x-ms-ratelimit-remaining-subscription-{kind}", str(int(self._filled(who, kind)[0].left))

    def _filled(self, who: str, kind: str) -> tuple[_Bucket, float]:
        burst, rate = (number * self._factor for number in _LIMITS[kind])
        now = self._clock()
        bucket = self._buckets.setdefault((who, kind), _Bucket(burst, now))
        bucket.left, bucket.at = min(burst, bucket.left + (now - bucket.at) * rate), now
        return bucket, rate


def kind_of(method: str) -> str:
    """Which of the buckets a method is taken from."""
    return {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")
