"""Is it alive, is it ready, and what people get when there is nothing or when it broke."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.views import redirect_to_login
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.csrf import csrf_failure as forged

from portal import queries


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Database and beat are there: 200, else 503 with which is not."""
    checks = {"database": _database_answers(), "beat": _beat_is_fresh()}
    ready = all(checks.values())
    return JsonResponse({"status": "ok" if ready else "not ready", **checks}, status=200 if ready else 503)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404 as problem+json under the API, as a page elsewhere."""
    return _failure(request, 404, "not_found", "Not found", "There is nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500 as problem+json under the API, as a page elsewhere."""
    return _failure(request, 500, "bug", "Something broke", "This is a bug of the portal. Its log has the details.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token. Who is not signed in goes to the sign-in form; that form's own failure is explained."""
    if request.user.is_authenticated or request.path == reverse("sign-in"):
        return forged(request, reason)
    return redirect_to_login("/")


def _database_answers() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone())


def _beat_is_fresh() -> bool:
    seen = queries.beat_at(name="recover_operations")
    return seen is not None and timezone.now() - seen < timedelta(seconds=60)


def _failure(request: HttpRequest, status: int, code: str, title: str, detail: str) -> HttpResponse:
    body = {"type": f"urn:slipway:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    if request.path.startswith("/api/"):
        return JsonResponse(body, status=status, content_type="application/problem+json")
    return render(request, "portal/problem.html", {"problem": body}, status=status)
