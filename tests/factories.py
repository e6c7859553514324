"""Rows that many tests start from, as plain functions."""

from __future__ import annotations

from typing import Any

from rest_framework.test import APIClient

from portal import actions
from portal.models import Membership, Team, User, Workspace
from portal.types import Role


def user(name: str, **fields: Any) -> User:
    """A person who can sign in with the password "correct horse"."""
    return User.objects.create_user(username=name, password="correct horse", **fields)


def team(slug: str = "blue") -> Team:
    """A team without members."""
    return Team.objects.create(slug=slug, name=slug.title())


def member(of: Team, role: Role, name: str = "") -> User:
    """A new member of a team."""
    made = user(name or f"{of.slug}-{role.label.lower()}")
    Membership.objects.create(team=of, user=made, role=role)
    return made


def workspace(of: Team, slug: str = "lab", **fields: Any) -> Workspace:
    """A workspace of a team."""
    azure = {"subscription_id": "11111111-1111-4111-8111-111111111111", "resource_group": "rg", "region": "westeurope"}
    return Workspace.objects.create(team=of, slug=slug, name=slug, **{**azure, **fields})


def client(of: User, **token: Any) -> APIClient:
    """A REST client with a token of the user."""
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {actions.token_create(user=of, name='test', **token)[1]}")
    return made
