"""What many tests begin with is made once in a run, by the real thing, and laid down again as that left it.

Row ids are the same each time, so what is laid down may stand on what was. Times move on: nothing has grown old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import models
from django.utils import timezone

Rows = dict[tuple[type[models.Model], Any], models.Model]
_kept: dict[str, tuple[datetime, list[models.Model], list[models.Model], dict[str, Any]]] = {}


def once(name: str, make: Callable[[], Any], outside: Any = None) -> None:
    """What `make` does to rows, and to the attributes of what is `outside` the portal."""
    if name not in _kept:
        rows, facts = _rows(), _facts(outside)
        make()
        _kept[name] = timezone.now(), *_told(rows, _rows()), _changed(facts, _facts(outside))
        return
    made_at, new, changed, facts = _kept[name]
    age = timezone.now() - made_at
    for model in dict.fromkeys(type(row) for row in new):
        fields = model._meta.local_concrete_fields
        model._base_manager._insert(  # type: ignore[attr-defined]  # raw: it sets no time or id itself
            [_later(row, age) for row in new if type(row) is model], fields=fields, using="default", raw=True
        )
    for row in changed:
        _later(row, age).save_base(raw=True, force_update=True)
    if outside:
        vars(outside).update(deepcopy(facts))


def _rows() -> Rows:
    every = (model for model in apps.get_models() if model._meta.managed)
    return {(model, row.pk): row for model in every for row in model._base_manager.order_by("pk")}


def _told(before: Rows, after: Rows) -> tuple[list[models.Model], list[models.Model]]:
    """Which rows are new, and which are other than before."""
    assert before.keys() <= after.keys(), "rows that go are not kept"
    changed = [row for key, row in after.items() if key in before and _values(row) != _values(before[key])]
    return [row for key, row in after.items() if key not in before], changed


def _values(row: models.Model) -> list[Any]:
    return [getattr(row, field.attname) for field in row._meta.concrete_fields]


def _facts(outside: Any) -> dict[str, Any]:
    plain = (dict, list, set, str, int, type(None))
    return {name: deepcopy(value) for name, value in vars(outside).items() if type(value) in plain} if outside else {}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if before[name] != value}


def _later(row: models.Model, by: timedelta) -> models.Model:
    made = copy(row)
    for field in _times(row):
        if at := getattr(row, field):
            setattr(made, field, at + by)
    return made


def _times(row: models.Model) -> Iterator[str]:
    return (field.attname for field in row._meta.concrete_fields if isinstance(field, models.DateTimeField))
