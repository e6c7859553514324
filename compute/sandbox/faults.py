"""Faults on demand: what should go wrong, for whom, and how often."""

from typing import Any

from compute.sandbox.db import Db

Json = dict[str, Any]
_TABLE = "faults"
# Keys of a spec that say how the fault behaves, not whom it meets.
_BEHAVIOUR = frozenset({"name", "count", "seconds", "retry_after", "when", "code", "message", "status", "poll"})


class Faults:
    """The faults that are set; they survive a restart."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._specs: dict[str, Json] = db.all(_TABLE)

    def set(self, name: str, spec: Json) -> None:
        """Set a fault. `count` is how many times it strikes (default: until cleared); other keys must match."""
        self._save(name, {**spec, "name": name})

    def clear(self, name: str | None = None) -> None:
        """Clear one fault, or all."""
        for known in [name] if name is not None else list(self._specs):
            self._specs.pop(known, None)
            self._db.delete(_TABLE, known)

    def all(self) -> dict[str, Json]:
        """The faults that are set, by name."""
        return {name: dict(spec) for name, spec in self._specs.items()}

    def take(self, name: str, **match: Any) -> Json | None:
        """The fault if it is set and meets `match`; this uses up one of its `count`."""
        spec = self._specs.get(name)
        if spec is None or not _meets(spec, match):
            return None
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
