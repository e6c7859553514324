"""The first admin, team, workspace and token of a home; made once, completed at each start."""

from __future__ import annotations

import json
import os
import secrets
from typing import Any

from django.db import transaction

from portal import actions, queries
from portal.addresses import is_loopback
from portal.launcher import credentials, probes
from portal.launcher import home as homes
from portal.launcher.errors import Stop
from portal.launcher.home import Home
from portal.launcher.ports import LOOPBACK
from portal.launcher.processes import REGION, REGISTRY, RESOURCE_GROUP, outside_arm
from portal.models import Team, User, Workspace

ADMIN, TEAM, WORKSPACE = "admin", "first-team", "main"


def make() -> None:
    """Rows, then credentials.json. What exists stays; a lost credentials.json gets a new password and token."""
    home = homes.find()
    if home is None:
        raise Stop("the home is not made yet: run ./slipway up.")
    azure = azure_of(home)
    known = credentials.read(home)
    with transaction.atomic():
        user = _admin(known)
        workspace = _workspace(user, home, azure)
        _token(user, known)
    credentials.write(home, {**known, **_addresses(home, workspace, azure)})


def azure_of(home: Home) -> dict[str, str]:
    """Where the first workspace's Azure is: the ARM that the environment gives, else the sandbox's."""
    arm = outside_arm()
    ports = home.facts["ports"]
    endpoint, token = arm or (f"http://{LOOPBACK}:{ports['arm']}", home.file("arm_token").read_text())
    return {
        "endpoint": endpoint,
        "token": token,
        "subscription_id": _subscription(home, arm),
        "resource_group": os.environ.get("SLIPWAY_RESOURCE_GROUP") or RESOURCE_GROUP,
        "registry": os.environ.get("SLIPWAY_REGISTRY") or (REGISTRY if is_loopback(endpoint) else ""),
        "region": os.environ.get("SLIPWAY_REGION") or REGION,
    }


def _subscription(home: Home, arm: tuple[str, str] | None) -> str:
    """The sandbox's; of an outside ARM what the environment says, else the first that it knows, "" without answer."""
    own = str(home.facts["subscription_id"])
    if arm is None:
        return own
    given = os.environ.get("AZURE_SUBSCRIPTION_ID", "")
    known = [] if given else probes.subscriptions(*arm)
    return given or (own if own in known else next(iter(known), ""))


def _admin(known: dict[str, Any]) -> User:
    user = User.objects.filter(username=ADMIN).first()
    if user is None:
        user = User(username=ADMIN, is_staff=True, is_superuser=True)
    if user.pk is None or not known.get("password"):
        known["password"] = secrets.token_urlsafe(18)
        user.set_password(known["password"])
        user.save()
    known["username"] = ADMIN
    return user


def _workspace(user: User, home: Home, azure: dict[str, str]) -> Workspace:
    team = Team.objects.filter(slug=TEAM).first() or actions.team_create(slug=TEAM, name="First team", owner=user)
    values = {
        "arm_endpoint": azure["endpoint"],
        "arm_credential": json.dumps({"kind": "static", "token": azure["token"]}),
        "registry": azure["registry"],
    }
    found = Workspace.objects.filter(slug=WORKSPACE).first()
    known = found.subscription_id if found else str(home.facts["subscription_id"])
    values["subscription_id"] = azure["subscription_id"] or known
    if found is None:
        names = {name: azure[name] for name in ("resource_group", "region")}
        return actions.workspace_create(team=team, slug=WORKSPACE, name=WORKSPACE, actor=user, **names, **values)
    Workspace.objects.filter(pk=found.pk).update(**values)
    found.refresh_from_db()
    return found


def _token(user: User, known: dict[str, Any]) -> None:
    if known.get("api_token") and queries.user_of_token(known["api_token"]):
        return
    _, known["api_token"] = actions.token_create(user=user, name="credentials.json", days=None)


def _addresses(home: Home, workspace: Workspace, azure: dict[str, str]) -> dict[str, str]:
    ports = home.facts["ports"]
    return {
        "http_url": f"http://{LOOPBACK}:{ports['http']}",
        "https_url": f"https://{LOOPBACK}:{ports['https']}",
        "ca_file": str(home.file("tls", "ca.pem")),
        "subscription_id": workspace.subscription_id,
        "resource_group": workspace.resource_group,
        "workspace": workspace.slug,
        "arm_url": azure["endpoint"],
        "arm_token": azure["token"],
    }
