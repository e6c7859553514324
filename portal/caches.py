"""The cache of a portal: what is kept there can always be had otherwise."""

from __future__ import annotations

import contextlib
from typing import Any

from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError


class Forgetful(RedisCache):
    """Has nothing and keeps nothing while its server is away, so that nobody who asks fails; counting still does."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """What is kept, else `default`, as when the server is away."""
        with contextlib.suppress(RedisError):
            return super().get(key, default, version)
        return default

    def set(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep a value, if the server is there."""
        with contextlib.suppress(RedisError):
            super().set(key, value, *args, **kwargs)
