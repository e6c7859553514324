"""What tests begin with is, laid down again, what the real operation left."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import DateTimeField

from tests import kept

SEEN: list[Any] = []


@pytest.mark.parametrize("turn", ["one", "other"])
def test_a_cluster_that_is_laid_down_again_is_as_its_create_left_it(turn, created, azure):
    created("kept-1")
    rows = {
        (key[0].__name__, key[1]): [
            getattr(row, field.attname) for field in row._meta.concrete_fields if not isinstance(field, DateTimeField)
        ]
        for key, row in kept._rows().items()
    }
    now = rows, kept._facts(azure)
    assert {"ComputeTarget", "Operation", "OperationLog", "AuditEvent", "ApiToken"} <= {name for name, _ in rows}
    SEEN.append(now)
    assert SEEN[0] == now
