"""The shared pages: sign-in, overview, operations, history, tokens, search; and the shell around every page."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST, require_safe
from rest_framework import serializers

from compute import cost
from compute import queries as compute
from deployments import queries as deployments
from endpoints import queries as endpoints
from endpoints.types import EndpointKind
from endpoints.views import line
from portal import actions, http, operations, pages, queries
from portal.problems import NotFound, Problem
from portal.types import ACTIVE_STATES, OperationKind, OperationState, Role

ATTEMPTS, WINDOW = 10, 300  # failed sign-ins per name and address, seconds
THEMES = (("auto", "Auto"), ("light", "Light"), ("dark", "Dark"))
NEWEST = {"newest": ("-created_at", "-pk"), "oldest": ("created_at", "pk")}
NAV = (
    ("overview", "Overview", "overview"),
    ("compute-list", "Compute", "compute"),
    ("model-list", "Models", "models"),
    ("environment-list", "Environments", "environments"),
    ("service-list", "Services", "services"),
    ("endpoint-list", "Endpoints", "endpoints"),
    ("operation-list", "Operations", "operations"),
    ("history", "History", "history"),
)
TROUBLE = ("Unhealthy", "Failed", "Unschedulable", "Missing")
TAIL_LINES = 6  # of the running step
ENDED_BADLY = [state for state in OperationState if state not in (*ACTIVE_STATES, OperationState.SUCCEEDED)]


class SignIn(LoginView):
    """The sign-in form: `username`, `password`, with a limit on failures per name and address."""

    template_name = "portal/sign_in.html"
    redirect_authenticated_user = True

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The form. A fragment whose session ended makes its page reload, which then leads here."""
        if pages.is_fragment(request):
            return HttpResponse(status=204, headers={"HX-Refresh": "true"})
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Check the password, unless this name failed too often from this address."""
        if cache.get(self._key(), 0) >= ATTEMPTS:
            form = self.get_form()
            form.errors.setdefault("__all__", form.error_class(["Too many failed attempts. Wait five minutes."]))
            return self.render_to_response(self.get_context_data(form=form), status=429)
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: Any) -> HttpResponse:
        """Count the failure."""
        cache.add(self._key(), 0, WINDOW)
        cache.incr(self._key())
        return super().form_invalid(form)

    def _key(self) -> str:
        name = self.request.POST.get("username", "")[:100].lower().encode().hex()
        return f"sign-in:{self.request.META.get('REMOTE_ADDR')}:{name}"


class TokenForm(http.Shape):
    """A wish for an API token, as the form sends it."""

    name = serializers.CharField(max_length=100)
    role = serializers.ChoiceField(choices=[role.label for role in Role])
    workspace = serializers.SlugField(required=False, allow_blank=True)
    days = serializers.IntegerField(min_value=1, max_value=3650)


def shell(request: HttpRequest) -> dict[str, Any]:
    """What is around every page. Fragments have no shell, and cost no query for it."""
    theme = request.COOKIES.get("theme", "auto")
    around: dict[str, Any] = {
        "theme": theme if theme in dict(THEMES) else "auto",
        "themes": THEMES,
        "notice": settings.SANDBOX_NOTICE,
    }
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or pages.is_fragment(request):
        return {"shell": around}
    found = list(queries.workspaces(actor=user))
    match = request.resolver_match
    slug = match.kwargs.get("workspace", "") if match else ""
    here = next((each for each in found if each.slug == slug), None) or (found[0] if found and not slug else None)
    around |= {"user": user, "workspaces": found, "workspace": here}
    if here is not None:
        role = queries.role_in(actor=user, team=here.team, workspace=here) or Role.READER
        around |= {
            "role_name": role.label, "can_contribute": role >= Role.CONTRIBUTOR, "can_operate": role >= Role.OPERATOR,
            "can_own": role >= Role.OWNER,
            "nav": _nav(request, here),
        }  # fmt: skip
    return {"shell": around}


def _nav(request: HttpRequest, here: Any) -> list[dict[str, Any]]:
    running = queries.operations(workspace=here).filter(state__in=ACTIVE_STATES).count()
    name = request.resolver_match.url_name or "" if request.resolver_match else ""
    return [
        {
            "url": reverse(target, args=[here.slug]), "label": label, "icon": icon,
            "is_here": name.split("-")[0] == target.split("-")[0],
            "count": running if target == "operation-list" else 0,
        }
        for target, label, icon in NAV
    ]  # fmt: skip


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The overview of the first workspace, or a page that says there is none."""
    first = queries.workspaces(actor=pages.actor(request)).first()
    return redirect("overview", first.slug) if first else render(request, "portal/no_workspace.html")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep light, dark or automatic colours in a cookie."""
    back = request.POST.get("next", "/")
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = redirect(back if safe else "/")
    wanted = request.POST.get("theme", "auto")
    response.set_cookie("theme", wanted if wanted in dict(THEMES) else "auto", max_age=31_536_000, samesite="Lax")
    return response


@login_required
@require_safe
def overview(request: HttpRequest, workspace: str) -> HttpResponse:
    """What is here, what runs, and what needs somebody."""
    home = queries.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    rows, jobs = endpoints.endpoints(workspace=home), queries.operations(workspace=home)
    targets, day = list(compute.compute_targets(workspace=home)), timezone.now() - timedelta(days=1)
    services = rows.filter(kind=EndpointKind.SERVICE).count()
    context = {
        "workspace": home,
        "targets": targets[:6],
        "compute_count": len(targets),
        "cost": cost.total(targets),
        "model_count": deployments.models(workspace=home).count(),
        "environment_count": deployments.environments(workspace=home).count(),
        "service_count": services,
        "endpoint_count": rows.count() - services,
        "endpoints": [line(row) for row in rows.order_by("-updated_at", "pk")[:8]],
        "troubled": [
            line(row)
            for row in rows.filter(versions__is_default=True, versions__deployment__state__in=TROUBLE).order_by("pk")[
                :5
            ]
        ],
        "uncollected": endpoints.collection_troubles(workspace=home)[:5],
        "ending": endpoints.ending_certificates(workspace=home)[:5],
        "changed": list(endpoints.changed(workspace=home)[:5]),
        "running": list(jobs.filter(state__in=ACTIVE_STATES)[:6]),
        "failed": list(jobs.filter(state__in=ENDED_BADLY, ended_at__gte=day)[:5]),
    }
    return render(request, "portal/overview.html", context)


@login_required
@require_safe
def search(request: HttpRequest, workspace: str) -> HttpResponse:
    """Any object of the workspace by a part of its name."""
    home = queries.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    text = request.GET.get("q", "").strip()
    found: dict[str, Any] = {}
    if text:
        found = {
            "targets": compute.compute_targets(workspace=home).filter(name__icontains=text)[:20],
            "endpoints": endpoints.endpoints(workspace=home).filter(name__icontains=text)[:20],
            "models": deployments.models(workspace=home).filter(name__icontains=text)[:20],
            "environments": deployments.environments(workspace=home).filter(name__icontains=text)[:20],
        }
    lists = {name: list(rows) for name, rows in found.items()}
    context = {"workspace": home, "q": text, "found": lists, "count": sum(len(rows) for rows in lists.values())}
    return render(request, "portal/search.html", context)


@login_required
@require_safe
def operation_list(request: HttpRequest, workspace: str) -> HttpResponse:
    """The long jobs, newest first."""
    home = queries.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    state, kind, target = (request.GET.get(name, "") for name in ("state", "kind", "q"))
    rows = queries.operations(workspace=home, state=state, kind=kind)
    page = pages.listing(request, rows.filter(target_name__icontains=target) if target else rows, sorts=NEWEST)
    shown = [{"op": op, "percent": queries.operation_percent(op=op)} for op in page.items]
    context = {
        "workspace": home, "page": page, "rows": shown, "states": OperationState.values,
        "kinds": OperationKind.values, "state": state, "kind": kind, "q": target,
    }  # fmt: skip
    return render(request, "portal/operations.html", context)


@login_required
@require_safe
def operation(request: HttpRequest, workspace: str, id: UUID) -> HttpResponse:
    """One long job: steps, log, and what can be done about it."""
    op = queries.operation(actor=pages.actor(request), slug=workspace, id=id, needs=Role.READER)
    return render(request, "portal/operation.html", _job(op, pages.actor(request)))


@login_required
@require_GET
def operation_live(request: HttpRequest, workspace: str, id: UUID) -> HttpResponse:
    """The part of a job's page that moves; when a drawer asks first, with what can be done about it.

    286 ends the polling; whoever polled hears that the job ended.
    """
    op = queries.operation(actor=pages.actor(request), slug=workspace, id=id, needs=Role.READER)
    is_poll = "poll" in request.GET
    template = "portal/_operation.html" if is_poll else "portal/_operation_drawer.html"
    response = render(request, template, _job(op, pages.actor(request)), status=200 if op.is_active else 286)
    if not op.is_active and is_poll:
        response["HX-Trigger"] = "operation-ended"
    return response


def _job(op: Any, actor: Any) -> dict[str, Any]:
    lines = list(queries.operation_log(op=op).reverse()[:200])[::-1]
    steps = queries.operation_steps(op=op)
    return {
        "workspace": op.workspace, "op": op, "cancelling": operations.CANCELLING,
        "percent": queries.operation_percent(op=op), "steps": steps,
        "left": queries.operation_left(op=op, steps=steps),
        "may_retry": op.state in ENDED_BADLY and operations.later_than(op) is None,
        "may_control": queries.may_control(actor=actor, op=op), "lines": lines,
        "news_at": lines[-1].at if lines else op.created_at, "tail": _tail(steps, lines),
    }  # fmt: skip


def _tail(steps: list[dict[str, Any]], lines: list[Any]) -> list[str]:
    """The end of what the running step wrote, when it wrote more than its note."""
    running = next((step["name"] for step in steps if step["state"] == "running"), "")
    found = [line.text for line in lines if line.step == running and line.event == "line" and line.text]
    return found[-TAIL_LINES:] if len(found) > 1 else []


@login_required
@require_POST
def operation_cancel(request: HttpRequest, workspace: str, id: UUID) -> HttpResponse:
    """Ask a job to stop."""
    return _control(request, workspace, id, operations.cancel, operations.CANCELLING)


@login_required
@require_POST
def operation_retry(request: HttpRequest, workspace: str, id: UUID) -> HttpResponse:
    """Go on with a job that failed."""
    again = partial(operations.retry, take_over=bool(request.POST.get("take_over")))
    return _control(request, workspace, id, again, "It goes on from the step that failed.")


def _control(request: HttpRequest, workspace: str, id: UUID, action: Any, said: str) -> HttpResponse:
    actor = pages.actor(request)
    op = queries.operation_to_control(actor=actor, slug=workspace, id=id)
    try:
        action(op=op, actor=actor)
        messages.success(request, said)
    except Problem as problem:
        return pages.refused(request, "portal/operation.html", _job(op, actor), problem)
    return redirect("operation", workspace, op.pk)


@login_required
@require_safe
def history(request: HttpRequest, workspace: str) -> HttpResponse:
    """Who did what, newest first."""
    home = queries.workspace(actor=pages.actor(request), slug=workspace, needs=Role.READER)
    rows = queries.audit_events(workspace=home)
    wanted = {name: request.GET.get(name, "").strip() for name in ("actor", "action", "target")}
    for field, text in (
        ("actor_name", wanted["actor"]),
        ("action", wanted["action"]),
        ("target_name", wanted["target"]),
    ):
        rows = rows.filter(**{f"{field}__icontains": text}) if text else rows
    page = pages.listing(request, rows, sorts={"newest": ("-pk",)})
    return render(request, "portal/history.html", {"workspace": home, "page": page, **wanted})


@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    """One's API tokens. A new one's secret is in the answer to the form, and nowhere else."""
    actor = pages.actor(request)
    if request.method == "POST":
        try:
            data = TokenForm.parse(request.POST)
            role = next(role for role in Role if role.label == data["role"])
            slug = data.get("workspace")
            home = queries.workspace(actor=actor, slug=slug, needs=Role.READER) if slug else None
            token, secret = actions.token_create(
                user=actor, name=data["name"], role=role, workspace=home, days=data["days"]
            )
        except Problem as problem:
            return pages.refused(request, "portal/tokens.html", _tokens(request), problem)
        response = render(request, "portal/tokens.html", {**_tokens(request), "secret": secret, "fresh": token})
        response["Cache-Control"] = "no-store"
        return response
    return render(request, "portal/tokens.html", _tokens(request))


def _tokens(request: HttpRequest) -> dict[str, Any]:
    actor = pages.actor(request)
    rows = [{"token": token, "role": Role(token.role).label} for token in queries.api_tokens(actor=actor)]
    return {"rows": rows, "roles": Role.labels, "now": timezone.now()}


@login_required
@require_POST
def token_revoke(request: HttpRequest, id: int) -> HttpResponse:
    """End a token at once."""
    actor = pages.actor(request)
    token = queries.api_tokens(actor=actor).filter(pk=id).first()
    if token is None:
        raise NotFound(f"You have no token {id}.")
    actions.token_revoke(token=token, actor=actor)
    messages.success(request, f"The token {token.name} has ended.")
    return redirect("tokens")
