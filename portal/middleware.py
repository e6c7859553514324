"""Four small things around every request."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render
from django.urls import is_valid_path

from portal.bodies import CutOff
from portal.problems import Problem

Handler = Callable[[HttpRequest], HttpResponse]


def server_timing(get_response: Handler) -> Handler:
    """Say how long the answer took: `Server-Timing: app;dur=<ms>`."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = get_response(request)
        response["Server-Timing"] = f"app;dur={(time.perf_counter() - began) * 1000:.1f}"
        return response

    return middleware


def lenient_slash(get_response: Handler) -> Handler:
    """REST paths end in a slash; the same path without it means the same, for every method."""

    def middleware(request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if (
            path.startswith("/api/")
            and not path.endswith("/")
            and not is_valid_path(path)
            and is_valid_path(path + "/")
        ):
            request.path_info = path + "/"
            request.path = request.path + "/"
        return get_response(request)

    return middleware


class problems_as_pages:  # noqa: N801  (listed by name in MIDDLEWARE like the functions above)
    """A Problem that a page's view let through becomes a page, or a toast when htmx asked."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass on; a form that was cut off is refused before the CSRF check misses what did not arrive."""
        if request.method == "POST" and not request.path.startswith("/api/"):
            try:
                request.POST  # noqa: B018  (reads the body)
            except UnreadablePostError as error:
                for handler in request.upload_handlers:
                    handler.upload_interrupted()  # removes the part of a file that came
                return _page(request, CutOff(str(error)))
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Render expected failures; bugs go on to Django's 500."""
        return _page(request, error) if isinstance(error, Problem) else None


def _page(request: HttpRequest, problem: Problem) -> HttpResponse:
    if getattr(request, "htmx", False):
        response = render(request, "portal/_toast.html", {"problem": problem}, status=problem.status)
        response["HX-Retarget"], response["HX-Reswap"] = "#toasts", "afterbegin"
        return response
    return render(request, "portal/problem.html", {"problem": problem, "debug": settings.DEBUG}, status=problem.status)
