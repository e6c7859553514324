"""What every REST door uses: shapes, authentication, problem documents, paging, 202 answers, idempotency."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import structlog
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, UnreadablePostError
from rest_framework import exceptions, serializers
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portal.bodies import CutOff
from portal.models import IdempotencyKey, Operation, User
from portal.problems import Conflict, InvalidShape, Problem

log = structlog.get_logger(__name__)
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


class Shape(serializers.Serializer[Any]):
    """The shape of a request or an answer. Unknown members are refused by name."""

    @classmethod
    def parse(cls, data: Any) -> dict[str, Any]:
        """The validated members. Raises InvalidShape (400) with a sentence per member."""
        if not isinstance(data, dict) and not hasattr(data, "keys"):
            raise InvalidShape("The body must be a JSON object.")
        shape = cls(data=data)
        unknown = sorted(set(data) - set(shape.fields) - {"csrfmiddlewaretoken"})
        if unknown:
            known = ", ".join(sorted(shape.fields))
            raise InvalidShape(
                f"Unknown: {', '.join(unknown)}. Known: {known}.", errors={name: ["Unknown."] for name in unknown}
            )
        if not shape.is_valid():
            raise InvalidShape(sentence(shape.errors), errors=shape.errors)
        return dict(shape.validated_data)

    def to_internal_value(self, data: Any) -> Any:
        """Unknown members of a part are refused like those of the whole: a typo never does nothing silently."""
        unknown = sorted(set(data) - set(self.fields)) if self.parent and isinstance(data, Mapping) else []
        if unknown:
            known = ", ".join(sorted(self.fields))
            raise serializers.ValidationError({str(name): [f"Unknown. Known: {known}."] for name in unknown})
        return super().to_internal_value(data)


def sentence(errors: Any, path: str = "") -> str:
    """DRF's error tree as one line: "node_count: A valid integer is required."."""
    if isinstance(errors, dict):
        return " ".join(
            sentence(value, f"{path}.{name}" if path else str(name)) for name, value in errors.items() if value
        )
    if isinstance(errors, list):
        return " ".join(sentence(value, path) for value in errors)
    return f"{path}: {errors}" if path and path != "non_field_errors" else str(errors)


class ApiView(APIView):
    """Base of every REST door: `Idempotency-Key` on unsafe methods, and typed access to the actor.

    `is_whole`: what a request writes is one transaction, so that a refusal leaves nothing, not even uploaded code.
    """

    is_whole: ClassVar[bool] = False
    request_hash: str = ""

    @staticmethod
    def actor(request: Request) -> User:
        """Who asks (never anonymous behind the default permission)."""
        user = request.user
        if not isinstance(user, User):
            raise exceptions.NotAuthenticated
        return user

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """With an Idempotency-Key, what is done and its stored answer are one transaction."""
        key = request.headers.get("Idempotency-Key", "")
        if request.method not in UNSAFE or not (key or self.is_whole):
            return self._answer(request, *args, **kwargs)
        try:
            with transaction.atomic():
                response = self._answer(request, *args, **kwargs)
                if response.status_code >= 400:
                    transaction.set_rollback(True)
                elif key and "Idempotent-Replay" not in response:
                    _keep(self.request, self.request_hash, response)
            return response
        except IntegrityError as clash:
            return self._answered(key, clash)

    def _answered(self, key: str, clash: IntegrityError) -> Response:
        """What another request with the same key, which was faster, got. Other clashes are bugs."""
        try:
            if key:
                _replay(self.actor(self.request), key, self.request_hash)
        except (Replay, Problem) as known:
            return self.finalize_response(self.request, self.handle_exception(known))
        raise clash

    def _answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        response = super().dispatch(request, *args, **kwargs)
        assert isinstance(response, Response)  # noqa: S101  (DRF finalises only these)
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """After authentication, answer a repeated request from what is stored."""
        super().initial(request, *args, **kwargs)
        key = request.headers.get("Idempotency-Key", "")
        if key and request.method in UNSAFE:
            self.request_hash = _request_hash(request)
            _replay(self.actor(request), key, self.request_hash)


class Replay(Exception):
    """Carries the stored answer of a repeated request."""

    def __init__(self, stored: IdempotencyKey) -> None:
        self.stored = stored


def _request_hash(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    if hasattr(request.data, "lists"):
        for name, values in sorted(request.data.lists()):
            for value in values:
                digest.update(f"{name}\n{len(values)}\n".encode())
                _add(digest, value)
    else:
        digest.update(json.dumps(request.data, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """A field's text, or an uploaded file's name, size and bytes."""
    if not hasattr(value, "chunks"):
        digest.update(f"{len(str(value))}\n{value}".encode())
        return
    digest.update(f"{value.name}\n{value.size}\n".encode())
    for chunk in value.chunks():
        digest.update(chunk)
    value.seek(0)


def _replay(user: User, key: str, request_hash: str) -> None:
    if len(key) > 200:
        raise InvalidShape(f"Idempotency-Key has {len(key)} characters; at most 200 are allowed.")
    stored = IdempotencyKey.objects.filter(user=user, key=key).first()
    if stored is None:
        return
    if stored.request_hash != request_hash:
        raise Conflict("This Idempotency-Key was used for another request. Use a new one.")
    raise Replay(stored)


def _keep(request: Any, request_hash: str, response: Response) -> None:
    headers = {name: response[name] for name in ("Location", "Retry-After") if name in response}
    IdempotencyKey.objects.create(
        user=request.user,
        key=request.headers["Idempotency-Key"],
        request_hash=request_hash,
        status=response.status_code,
        headers=headers,
        body=json.dumps(response.data, default=str),
    )


def accepted(op: Operation) -> Response:
    """202 with where to follow the operation, and what people should know about it."""
    where = f"/api/v1/workspaces/{op.workspace.slug}/operations/{op.pk}/"
    body = {
        "operation": str(op.pk), "state": op.state, "kind": op.kind, "target": op.target_name, "url": where,
        "warnings": op.warnings,
    }  # fmt: skip
    return Response(body, status=202, headers={"Location": where, "Retry-After": "1"})


def page(
    view: APIView, rows: QuerySet[Any], show: Callable[[Any], dict[str, Any]], *, ordering: tuple[str, ...]
) -> Response:
    """One page of a list: {"items": […], "next": URL or null}; `?page_size=` up to 200, `?cursor=` to go on."""
    pager = Cursor()
    pager.ordering = ordering
    found = pager.paginate_queryset(rows, view.request, view=view)
    return Response({"items": [show(row) for row in found or []], "next": pager.get_next_link()})


class Cursor(CursorPagination):
    """Cursor paging, 50 rows by default."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_page_size(self, request: Request) -> int:
        """Refuse a page size that is no number between 1 and 200 with a sentence."""
        text = request.query_params.get("page_size", "50")
        if not text.isdigit() or not 1 <= int(text) <= 200:
            raise InvalidShape(f"page_size is {text!r}: give a number from 1 to 200.")
        return int(text)


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every failure of a REST door as application/problem+json."""
    if isinstance(error, Replay):
        stored = error.stored
        return Response(
            json.loads(stored.body), status=stored.status, headers={**stored.headers, "Idempotent-Replay": "true"}
        )
    problem = as_problem(error)
    if problem is None:
        return None
    headers = {"WWW-Authenticate": 'Bearer realm="slipway"'} if problem.status == 401 else {}
    wait = getattr(error, "wait", None)
    if wait:
        headers["Retry-After"] = str(int(wait) + 1)
    return Response(problem.as_dict(), status=problem.status, headers=headers, content_type="application/problem+json")


def as_problem(error: Exception) -> Problem | None:
    """A Problem for expected failures of ours, Django's and DRF's; None for bugs."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnreadablePostError):
        return CutOff(str(error))
    if isinstance(error, Http404):
        return _problem(404, "not_found", "There is nothing here.")
    if isinstance(error, PermissionDenied):
        return _problem(403, "forbidden", str(error) or "This is not allowed.")
    if isinstance(error, exceptions.ValidationError):
        return InvalidShape(sentence(error.detail), errors=error.detail)
    if isinstance(error, exceptions.APIException):
        return _problem(error.status_code, str(error.default_code), str(error.detail))
    return None


def _problem(status: int, code: str, detail: str) -> Problem:
    problem = Problem(detail)
    problem.status, problem.code, problem.title = status, code, TITLES.get(status, "The request failed")
    return problem


TITLES = {
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    415: "Wrong media type",
    429: "Too many requests",
}
