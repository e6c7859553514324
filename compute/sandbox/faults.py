"""Faults on demand: what should go wrong, for whom, and how often."""

import random
from typing import Any

from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "faults"
# Keys of a spec that say how the fault behaves, not whom it meets.
_BEHAVIOUR = frozenset({
    "name", "count", "seconds", "retry_after", "code", "message", "status", "poll", "rate", "seed", "drawn", "left",
    "words", "inner", "body", "json", "headers", "why", "webhook",
})  # fmt: skip


class Faults:
    """The faults that are set; they survive a restart. `NAME+anything` is a further fault of the kind NAME."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._specs: dict[str, Json] = db.all(_TABLE)

    def set(self, name: str, spec: Json) -> None:
        """Set a fault. ValueError for a count or rate that makes no sense.

        `count` is how many times it strikes (default: until cleared); `rate` with `seed` how often on average, from 0
        to 1, the same ones for the same seed; other keys must match.
        """
        if int(spec.get("count", 1)) < 1 or not 0 <= float(spec.get("rate", 1)) <= 1:
            raise ValueError("a fault's count is at least 1, its rate from 0 to 1")
        early = {"when": "before"} if name.partition("+")[0] == "arm.drop" else {}
        self._save(name, {**early, **spec, "name": name})

    def clear(self, name: str | None = None) -> None:
        """Clear one fault, or all."""
        for known in [name] if name is not None else list(self._specs):
            self._specs.pop(known, None)
            self._db.delete(_TABLE, known)

    def all(self) -> dict[str, Json]:
        """The faults that are set, by name."""
        return {name: dict(spec) for name, spec in self._specs.items()}

    def take(self, name: str, **match: Any) -> Json | None:
        """The fault if it is set, meets `match` and its dice say so; this uses up one of its `count`."""
        for known in list(self._specs):
            spec = self._specs[known]
            if known.partition("+")[0] == name and _meets(spec, match) and self._falls(known, spec):
                return self._use(known)
        return None

    def _falls(self, name: str, spec: Json) -> bool:
        if "rate" not in spec:
            return True
        drawn = int(spec.get("drawn", 0))
        self._save(name, {**spec, "drawn": drawn + 1})
        dice = random.Random(f"{spec.get('seed', 0)}/{name}/{drawn}")  # noqa: S311 - dice, not secrets
        return dice.random() < float(spec["rate"])

    def _use(self, name: str) -> Json:
        spec = self._specs[name]
        if "count" in spec:
            left = int(spec["count"]) - 1
            if left <= 0:
                self.clear(name)
            else:
                self._save(name, {**spec, "count": left})
        return dict(spec)

    def _save(self, name: str, spec: Json) -> None:
        self._specs[name] = spec
        self._db.put(_TABLE, name, spec)


def _meets(spec: Json, match: Json) -> bool:
    wanted = {key: value for key, value in spec.items() if key not in _BEHAVIOUR}
    return all(str(match.get(key, "")).lower() == str(value).lower() for key, value in wanted.items())
