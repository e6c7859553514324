"""The cache while its server is away: crash journeys kill it."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import RedisError

from portal.caches import Forgetful


def test_a_cache_without_its_server_has_nothing_and_hurts_nobody_but_still_counts_nothing(tmp_path: Path) -> None:
    cache = Forgetful(f"unix://{tmp_path / 'broker'}?db=1", {})
    cache.set("known", 1, 60)
    assert cache.get("known", "nothing") == "nothing"
    with pytest.raises(RedisError):
        cache.incr("attempts")
