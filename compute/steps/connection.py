"""Test a workspace's connection to Azure: token, subscription, resource group, and what is permitted or missing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from compute import preflight, queries, rights
from compute.arm import Arm
from compute.steps.preflight import CAP_SECONDS, gather
from compute.types import Finding
from portal import credentials
from portal.models import Workspace
from portal.problems import Problem, Retryable

ERROR, WARNING, OK = preflight.ERROR, preflight.WARNING, preflight.OK
TOKEN_SECONDS = 9.0
HINTS = {
    "AADSTS7000215": "Give the secret's value (not its id) of a secret that the app registration has.",
    "AADSTS7000222": "The secret is over: make a new one (az ad app credential reset --append) and give it here.",
    "AADSTS700016": "Check client_id and tenant_id, and that the app has a service principal in that tenant.",
    "AADSTS700027": "Upload this certificate to the app registration (az ad app credential reset --cert @cert.pem).",
    "AADSTS90002": "Check tenant_id, and that the workspace's cloud is the one that has the tenant.",
}
RENEW = "Check the workspace's credential, and give it anew."


def connection_findings(*, workspace: Workspace) -> list[Finding]:
    """All that stands against using the workspace's Azure, within 15 s; nothing is made or changed."""
    ends = time.monotonic() + CAP_SECONDS
    try:
        arm = queries.arm_of(workspace)
        arm.reads.prepare()
    except (Problem, Retryable) as trouble:
        code = trouble.code if isinstance(trouble, Problem) else "azure_unreachable"
        return [Finding(code, ERROR, trouble.detail, RENEW)]
    answer = gather({"token": arm.reads.token}, TOKEN_SECONDS)["token"]
    if answer is not None:
        return [_no_token(answer)]
    kind = credentials.described(workspace.arm_credential)["kind"]
    got = Finding("token", OK, f"The credential ({kind}) gets a token for {arm.reads.base_url}.")
    return [got, *_account(workspace, arm, max(1.0, ends - time.monotonic()))]


def _no_token(trouble: Problem | Retryable) -> Finding:
    if isinstance(trouble, Retryable):
        words = f"No token: {trouble.detail}"
        return Finding("authority_unreachable", ERROR, words, "Check the network between the portal and the authority.")
    fix = next((hint for code, hint in HINTS.items() if f"{code}:" in trouble.detail), RENEW)
    return Finding("token_refused", ERROR, trouble.detail, fix)


def _account(workspace: Workspace, arm: Arm, seconds: float) -> list[Finding]:
    scope = f"/subscriptions/{workspace.subscription_id}"
    group = f"{scope}/resourceGroups/{workspace.resource_group}"
    answers = gather(
        {
            "subscription": arm.reads.subscription, "group": lambda: arm.resource_group(workspace.resource_group),
            "on_subscription": lambda: arm.reads.rights(scope), "on_group": lambda: arm.reads.rights(group),
        },
        seconds,
    )  # fmt: skip
    found = _subscription(answers["subscription"], workspace)
    if found[0].level == ERROR:
        return found
    found += _group(answers["group"], workspace)
    who = credentials.described(workspace.arm_credential).get("client_id", "APP_ID")
    found += _rights(answers["on_subscription"], rights.ON_SUBSCRIPTION, scope, who, has_registry=True)
    if answers["group"] is not False:
        has_registry = bool(workspace.registry)
        found += _rights(answers["on_group"], rights.ON_GROUP, group, who, has_registry=has_registry)
    return found


def _subscription(answer: Any, workspace: Workspace) -> list[Finding]:
    name = workspace.subscription_id
    if isinstance(answer, Retryable):
        return [Finding("azure_unreachable", ERROR, answer.detail, "Check the ARM endpoint and the network to it.")]
    if isinstance(answer, Problem):
        words = f"The credential does not see the subscription {name}: {answer.detail}"
        command = rights.grant(rights.READER, f"/subscriptions/{name}")
        fix = f"Give it a role there, or correct the subscription: {command}"
        return [Finding("subscription_not_visible", ERROR, words, fix)]
    state = str(answer.get("state") or "Enabled")
    words = f"The subscription {answer.get('displayName') or name} is visible ({state})."
    if state.lower() not in ("enabled", "pastdue"):
        return [Finding("subscription_state", WARNING, words, "Azure refuses changes in it until it is enabled.")]
    return [Finding("subscription", OK, words)]


def _group(answer: Any, workspace: Workspace) -> list[Finding]:
    if isinstance(answer, bool):
        return preflight.group(answer, workspace.resource_group, workspace.region)
    return [preflight.unknown("resource_group", f"The resource group {workspace.resource_group}", answer.detail)]


def _rights(answer: Any, deeds: Sequence[rights.Deed], scope: str, who: str, *, has_registry: bool) -> list[Finding]:
    if isinstance(answer, Problem | Retryable):
        return [preflight.unknown("rights", f"What is permitted on {scope}", answer.detail)]
    return [_deed(answer, deed, scope, who, has_registry=has_registry) for deed in deeds]


def _deed(rows: Sequence[Mapping[str, Any]], deed: rights.Deed, scope: str, who: str, *, has_registry: bool) -> Finding:
    """Whether one thing that the portal does is permitted at a scope."""
    missing = [action for action in deed.actions if not preflight.allows(rows, action)]
    facts = {"deed": deed.name, "scope": scope, "role": deed.role}
    if not missing:
        return Finding("permitted", OK, f"May {deed.name} on {scope}.", facts=facts)
    needs = not deed.is_optional or (deed.name == "build images" and has_registry)
    words = f"Missing: {', '.join(missing)} on {scope}. Without it the portal cannot {deed.name}."
    fix = f'Give the role "{deed.role}" there: {rights.grant(deed.role, scope, who)} {deed.instead}'.strip()
    return Finding("permission_missing", ERROR if needs else WARNING, words, fix, {**facts, "missing": missing})
