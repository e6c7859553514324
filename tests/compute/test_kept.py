"""What tests begin with is, laid down again, what the real operation left."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField

from tests import kept


def rows() -> dict[tuple[str, Any], list[Any]]:
    """All rows with what they hold, but times."""
    return {
        (key[0].__name__, key[1]): [
            getattr(row, field.attname) for field in row._meta.concrete_fields if not isinstance(field, DateTimeField)
        ]
        for key, row in kept._rows().items()
    }


def test_a_cluster_that_is_laid_down_again_is_as_its_create_left_it(created, azure):
    fresh, seen = kept._facts(azure), []
    for _ in ("made", "laid down again"):
        vars(azure).update(deepcopy(fresh))
        with transaction.atomic():
            created("kept-1")
            seen.append((rows(), kept._facts(azure)))
            transaction.set_rollback(True)
    assert {"ComputeTarget", "Operation", "OperationLog", "AuditEvent", "ApiToken"} <= {name for name, _ in seen[0][0]}
    assert seen[0] == seen[1]
