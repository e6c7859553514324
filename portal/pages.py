"""What every page's view uses: one page of a list, a refused form, and the segments of a traffic bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from portal.http import Cursor, as_problem
from portal.models import Operation, User
from portal.problems import Problem
from portal.queries import latest_operation
from portal.types import OperationState

ROWS = 50


@dataclass(frozen=True)
class Page:
    """One page of a list, with links to those beside it."""

    items: Sequence[Any]
    next: str | None
    previous: str | None


@dataclass(frozen=True)
class Segment:
    """One part of a bar: where it starts and how wide it is, in percent; `color` is 0 to 5."""

    name: str
    color: int
    x: float
    width: float
    is_rest: bool = False

    @property
    def middle(self) -> float:
        """Where its label goes."""
        return self.x + self.width / 2


def actor(request: HttpRequest) -> User:
    """Who asks; views are behind `login_required`."""
    if not isinstance(request.user, User):
        raise TypeError("A page's view without login_required.")
    return request.user


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks, for a part of a page."""
    return bool(getattr(request, "htmx", False))


def listing(request: HttpRequest, rows: QuerySet[Any], *, sorts: Mapping[str, tuple[str, ...]]) -> Page:
    """One page of `rows`; `?sort=` is one of `sorts` (the first is the default), `?cursor=` goes on."""
    pager = Cursor()
    pager.ordering = sorts.get(request.GET.get("sort", "")) or next(iter(sorts.values()))
    asked = Request(request)
    try:
        found = pager.paginate_queryset(rows, asked) or []
    except APIException as error:
        raise as_problem(error) or error from None
    return Page(found, pager.get_next_link(), pager.get_previous_link())


def refused(request: HttpRequest, template: str, context: dict[str, Any], problem: Problem) -> HttpResponse:
    """The form again, with what is wrong above it and what was typed still in it."""
    return render(request, template, {**context, "problem": problem, "typed": request.POST}, status=problem.status)


def tell(request: HttpRequest, op: Operation | None) -> None:
    """Say on the next page what an operation's action had to say: warnings, flags that moved."""
    for sentence in op.warnings if op else []:
        messages.warning(request, sentence)


def since(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stored differences with their `since` as a time."""
    return [{**row, "since": parse_datetime(row["since"])} for row in rows]


def news(ref: str) -> Operation | None:
    """The operation that an object's page shows: what runs, or what went wrong last."""
    found = latest_operation(ref=ref)
    return found if found and found.state != OperationState.SUCCEEDED else None


def segments(parts: Iterable[tuple[str, int, Decimal, bool]]) -> list[Segment]:
    """A stacked bar from (name, colour number, percent, whether it is the remainder); empty parts are left out."""
    result: list[Segment] = []
    start = Decimal(0)
    for name, color, width, is_rest in parts:
        if width > 0:
            result.append(Segment(name, color % 6, float(start), float(width), is_rest))
            start += width
    return result
