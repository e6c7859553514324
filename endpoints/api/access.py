"""Scoring keys and tokens."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from endpoints import actions
from endpoints.api import shapes
from endpoints.api.endpoints import KindView
from endpoints.types import Slot
from portal import http
from portal.problems import InvalidShape
from portal.types import Role

PRIVATE = {"Cache-Control": "no-store"}


class Keys(KindView):
    """Both scoring keys."""

    @extend_schema(request=None, responses=shapes.KeysOut)
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Reveal the keys; history says who saw them."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        return Response(actions.keys_reveal(endpoint=endpoint, actor=self.actor(request)), headers=PRIVATE)


class KeyRegenerate(KindView):
    """A new value for one key."""

    @extend_schema(request=shapes.SlotIn, responses={202: shapes.EndpointAcceptedOut})
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Replace one key; the other goes on working."""
        endpoint, actor = self.found(request, workspace, name, Role.CONTRIBUTOR), self.actor(request)
        data = shapes.SlotIn.parse(request.data)
        slot = Slot(data["slot"])
        if "value" in data:
            return http.accepted(actions.key_set(endpoint=endpoint, slot=slot, value=data["value"], actor=actor))
        return http.accepted(actions.key_regenerate(endpoint=endpoint, slot=slot, actor=actor))


class Token(KindView):
    """A scoring token."""

    @extend_schema(request=shapes.ScoringTokenIn, responses=shapes.ScoringTokenOut)
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Issue a token for this service or endpoint only; 1 hour by default, at most 24."""
        endpoint = self.found(request, workspace, name, Role.CONTRIBUTOR)
        hours = shapes.ScoringTokenIn.parse(request.data)["hours"]
        if not abs(hours) < 1e6:
            raise InvalidShape("hours: give a number of hours, at most 24.")
        token = actions.token_issue(endpoint=endpoint, actor=self.actor(request), life=timedelta(hours=hours))
        return Response(asdict(token), headers=PRIVATE)
