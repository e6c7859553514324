"""Server-side apply."""

import json
from typing import Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.fieldset import Fields, FieldSet, Path, item_key, show, value_key
from compute.sandbox.kube.managed import Manager, Owned, Owners, read, write
from compute.sandbox.kube.schema import is_set, list_keys, shape

Json = dict[str, Any]


def apply(fields: Fields, live: Json | None, config: Json, who: Manager, *, force: bool, moment: str) -> Json:
    """`live` with `config` applied by `who`: merged, dropped fields gone, owners recorded.

    `ApiError` 409 when another manager owns a field that would change and `force` is off. `config` has passed
    `typed.check`.
    """
    base = live or {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {}}
    owners = read(base)
    wanted = fields.leaves(config)
    _settle_conflicts(fields, base, wanted, owners, who, force)
    merged = _Merge(fields).value(fields.root, clone(base), config)
    before = owners.pop(who, Owned(set(), moment))
    gone = {path for path in before.fields if path not in wanted}
    others: FieldSet = set().union(*(owned.fields for owned in owners.values())) if owners else set()
    # Items before their fields: what is below a removed item is gone with it, defaults too.
    for path in sorted(gone, key=len):
        kept = _owned_by_others(path, others) or _above_wanted(path, wanted) or _names_an_item(path)
        if not kept:
            _remove(fields, merged, path)
    same = before.fields == set(wanted) and live is not None and fields.leaves(merged) == fields.leaves(live)
    owners[who] = Owned(set(wanted), before.time if same else moment)
    write(merged, owners)
    return dict(merged)


def _settle_conflicts(
    fields: Fields, live: Json, wanted: dict[Path, Any], owners: Owners, who: Manager, force: bool
) -> None:
    now = fields.leaves(live)
    differs = {path for path, value in wanted.items() if path not in now or now[path] != value}
    found = [(key, path) for key, owned in owners.items() if key != who for path in sorted(differs & owned.fields)]
    if found and not force:
        raise _conflict(found)
    for key, path in found:
        owners[key].fields = owners[key].fields - {path}


def _conflict(found: list[tuple[Manager, Path]]) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {key.show()}", "field": show(path)}
        for key, path in found
    ]
    if len(found) == 1:
        key, path = found[0]
        text = f"Apply failed with 1 conflict: conflict with {key.show()}: {show(path)}"
    else:
        lines = []
        for name in sorted({key.show() for key, _ in found}):
            lines.append(f"conflicts with {name}:")
            lines += [f"- {show(path)}" for key, path in found if key.show() == name]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", text, {"causes": causes})


def _owned_by_others(path: Path, others: FieldSet) -> bool:
    return any(other[: len(path)] == path for other in others)


def _names_an_item(path: Path) -> bool:
    """A key field lives as long as its item."""
    return len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])


def _above_wanted(path: Path, wanted: dict[Path, Any]) -> bool:
    """A field that was a leaf (an empty map) and now has fields below it is not dropped."""
    return any(other[: len(path)] == path for other in wanted)


class _Merge:
    def __init__(self, fields: Fields) -> None:
        self._schema = fields.schema

    def value(self, ref: Json, live: Any, config: Any) -> Any:
        node, name = self._schema.resolve(ref)
        kind = shape(node, name)
        atomic = "atomic" in (node.get("x-kubernetes-map-type"), ref.get("x-kubernetes-map-type"))
        if kind in ("struct", "map") and isinstance(live, dict) and isinstance(config, dict) and not atomic:
            for key, item in config.items():
                inner = node["additionalProperties"] if kind == "map" else node["properties"].get(key, {})
                live[key] = self.value(inner, live.get(key), item)
            return live
        if isinstance(live, list) and isinstance(config, list) and kind == "list":
            if list_keys(node):
                return self._keyed(node, live, config)
            if is_set(node):
                return [*live, *(item for item in config if item not in live)]
        return clone(config)

    def _keyed(self, node: Json, live: list[Any], config: list[Any]) -> list[Any]:
        """Items of the config in its order; items that only the live object has keep their place before them."""
        keys = list_keys(node)
        here = {item_key(keys, item): item for item in live}
        given = [item_key(keys, item) for item in config]
        merged = {key: self.value(node["items"], here.get(key), item) for key, item in zip(given, config, strict=True)}
        shared = [key for key in here if key in merged]
        if shared == [key for key in given if key in here]:
            return [merged.get(key, item) for key, item in here.items()] + [
                merged[key] for key in given if key not in here
            ]
        return [item for key, item in here.items() if key not in merged] + list(merged.values())


def _remove(fields: Fields, obj: Json, path: Path) -> None:
    """Take the field at `path` out, and containers that this leaves empty."""
    trail: list[tuple[Any, Any]] = []
    here: Any = obj
    ref = fields.root
    for element in path:
        node, _ = fields.schema.resolve(ref)
        place = _place(node, here, element)
        if place is None:
            return
        trail.append((here, place))
        here = here[place]
        ref = _below(node, element)
    holder, place = trail.pop()
    del holder[place]
    while trail and holder == [] or trail and holder == {}:
        holder, place = trail.pop()
        del holder[place]


def _place(node: Json, here: Any, element: str) -> Any:
    if element.startswith("f:"):
        return element[2:] if isinstance(here, dict) and element[2:] in here else None
    if not isinstance(here, list):
        return None
    if element.startswith("k:"):
        keys = list_keys(node)
        return next((i for i, item in enumerate(here) if item_key(keys, item) == element), None)
    return next((i for i, item in enumerate(here) if value_key(item) == element), None)


def _below(node: Json, element: str) -> Json:
    if element.startswith("f:"):
        found = node.get("properties", {}).get(element[2:]) or node.get("additionalProperties")
        return found if isinstance(found, dict) else {}
    return dict(node.get("items", {}))
