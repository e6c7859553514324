"""What Azure has that is not as the portal's row wants it, told with numbers and since when. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from compute import power
from compute.types import ClusterView, PoolView

Row = dict[str, Any]


def differences(
    *, node_count: int, version: str, config: Mapping[str, Any], is_attached: bool, view: ClusterView,
    before: Iterable[Row], now: str,
) -> list[Row]:  # fmt: skip
    """One row for each difference; `since` is kept from `before` as long as Azure's value is the same."""
    found = [*_nodes(node_count, view), *_version(version, view), *_power(config, view)]
    found += [] if is_attached and not config.get("autoscaler") else _autoscaler(config, view)
    old = {(row["code"], row["azure"]): row["since"] for row in before}
    return [row | {"since": old.get((row["code"], row["azure"]), now)} for row in found]


def pool_differences(*, wanted: Iterable[Any], view: ClusterView, before: Iterable[Row], now: str) -> list[Row]:
    """One row for each difference of a further node pool, named in `pool`; `wanted` are the rows of NodePool."""
    if view.is_stopped:
        return []
    found = [row | {"pool": pool.name} for pool in wanted for row in _pool(pool, view.node_pool(pool.name))]
    old = {(row["code"], row.get("pool"), row["azure"]): row["since"] for row in before}
    return [row | {"since": old.get((row["code"], row["pool"], row["azure"]), now)} for row in found]


def _pool(wanted: Any, there: PoolView | None) -> list[Row]:
    if there is None:
        words = f"The node pool {wanted.name} was removed outside the portal."
        return [_row("pool_missing", f"{wanted.count} × {wanted.vm_size}", "none", words)]
    if there.is_stopped:
        words = f"The node pool {wanted.name} is {there.power_state.lower()}."
        return [_row("pool_power_state", "Running", there.power_state, words)]
    return [*_size(wanted, there), *_counts(wanted, there)]


def _size(wanted: Any, there: PoolView) -> list[Row]:
    """A pool of other machines under the name; `was_size` is what was asked for, until somebody takes that over."""
    now = wanted.vm_size if there.vm_size.lower() != wanted.vm_size.lower() else ""
    asked = wanted.observed.get("was_size") or now
    if not asked:
        return []
    words = f"The node pool {wanted.name} was made anew outside the portal, of {there.vm_size}; it was of {asked}."
    return [_row("pool_size", asked, there.vm_size, words)]


def _counts(wanted: Any, there: PoolView) -> list[Row]:
    if (there.min_count, there.max_count) != (wanted.min_count, wanted.max_count):
        words = f"Azure has {_bounds_words(there)} for the node pool {wanted.name}; {_bounds_words(wanted)} is wanted."
        return [_row("pool_autoscaler", _bounds(wanted), _bounds(there), words)]
    if there.max_count is None and there.count != wanted.count:
        words = f"Azure has {there.count} nodes in the node pool {wanted.name}; {wanted.count} are wanted."
        return [_row("pool_count", str(wanted.count), str(there.count), words)]
    return []


def _bounds(pool: Any) -> str:
    return "off" if pool.max_count is None else f"{pool.min_count} to {pool.max_count}"


def _bounds_words(pool: Any) -> str:
    return "no autoscaler" if pool.max_count is None else f"an autoscaler from {_bounds(pool)}"


def _row(code: str, configured: str, azure: str, message: str) -> Row:
    return {"code": code, "configured": configured, "azure": azure, "message": message}


def _nodes(wanted: int, view: ClusterView) -> list[Row]:
    """A count that Azure's autoscaler set is none, nor are the nodes of a stopped cluster."""
    if view.has_autoscaler or view.node_count == wanted or not wanted or view.is_stopped:
        return []
    words = f"Azure has {view.node_count} nodes; {wanted} are wanted."
    return [_row("node_count", str(wanted), str(view.node_count), words)]


def _autoscaler(config: Mapping[str, Any], view: ClusterView) -> list[Row]:
    own, wanted = view.own_pool, config.get("autoscaler")
    if own is None or view.is_stopped:
        return []
    there = None if own.max_count is None else {"min_count": own.min_count or 0, "max_count": own.max_count}
    has, wish = power.words(there), power.words(wanted)
    if has == wish:
        return []
    words = f"The autoscaler is {_switched(there)} in Azure; here it is {_switched(wanted)}."
    if there and wanted:
        words = f"Azure's autoscaler goes from {has} nodes; {wish} is wanted."
    return [_row("autoscaler", wish, has, words)]


def _switched(bounds: Mapping[str, int] | None) -> str:
    return "on" if bounds else "off"


def _version(wanted: str, view: ClusterView) -> list[Row]:
    seen = view.kubernetes_version
    if not wanted or not seen or seen == wanted or seen.startswith(f"{wanted}."):
        return []
    words = f"Azure runs Kubernetes {seen}; {wanted} was asked for."
    return [_row("kubernetes_version", wanted, seen, words)]


def _power(config: Mapping[str, Any], view: ClusterView) -> list[Row]:
    wanted = str(config.get("power") or "Running")
    if view.power_state.lower() == wanted.lower():
        return []
    return [_row("power_state", wanted, view.power_state, f"The cluster is {view.power_state.lower()}.")]
