"""The answer of everything that looks before something is done: findings, and whether they pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from compute import preflight
from compute.types import Finding
from portal import http


class FindingOut(http.Shape):
    """One result of a preflight: `fix` says what to do, empty where nothing is; `facts` are the numbers."""

    code = serializers.CharField()
    level = serializers.ChoiceField(choices=["error", "warning", "ok"])
    message = serializers.CharField()
    fix = serializers.CharField(allow_blank=True)
    facts = serializers.DictField()


class PreflightOut(http.Shape):
    """All findings, and whether none of them is an error."""

    findings = FindingOut(many=True)
    passes = serializers.BooleanField()


def told(findings: Sequence[Finding]) -> dict[str, Any]:
    """The answer as PreflightOut has it."""
    return {"findings": [finding.as_dict() for finding in findings], "passes": preflight.passes(findings)}
