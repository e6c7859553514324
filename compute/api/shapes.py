"""What REST answers about a compute target, and where to follow a long job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from compute import cost, power, sizes
from compute.types import ComputeState, Platform, Power, Purpose
from portal import http


class DriftOut(http.Shape):
    """One thing that Azure has otherwise than it is wanted here."""

    code = serializers.CharField()
    configured = serializers.CharField()
    azure = serializers.CharField()
    message = serializers.CharField()
    since = serializers.DateTimeField()
    pool = serializers.CharField(required=False, help_text="The further node pool that it is about.")


class CostOut(http.Shape):
    """The estimate for the nodes of all pools; null where a price is not known, 0 while the cluster is stopped."""

    usd_hour = serializers.FloatField(allow_null=True)
    usd_month = serializers.FloatField(allow_null=True, help_text=f"Of {cost.HOURS_A_MONTH} hours.")
    prices_from = serializers.DateField()
    is_stopped = serializers.BooleanField()
    note = serializers.CharField(help_text="What it leaves out, or why there is none.")


class TargetOut(http.Shape):
    """A compute target as REST shows it."""

    name = serializers.CharField()
    state = serializers.ChoiceField(choices=ComputeState.choices)
    reason = serializers.CharField()
    power_state = serializers.ChoiceField(choices=Power.choices, help_text="As Azure had it last.")
    is_attached = serializers.BooleanField()
    platform = serializers.ChoiceField(choices=Platform.choices, help_text="Kubernetes: Azure does not know it.")
    server = serializers.CharField(help_text="Of the kubeconfig that was given; empty of an AKS cluster.")
    access_ends_at = serializers.DateTimeField(allow_null=True, help_text="When that kubeconfig's credential ends.")
    purpose = serializers.ChoiceField(choices=Purpose.choices)
    generation = serializers.IntegerField()
    cluster_id = serializers.CharField()
    subscription_id = serializers.CharField()
    resource_group = serializers.CharField()
    cluster_name = serializers.CharField()
    region = serializers.CharField()
    vm_size = serializers.CharField()
    node_count = serializers.IntegerField()
    vcpus = serializers.IntegerField(help_text="Of one node.")
    memory_gb = serializers.FloatField(help_text="Of one node.")
    gpus = serializers.IntegerField(help_text="Of one node.")
    total_vcpus = serializers.IntegerField()
    usd_hour = serializers.FloatField(allow_null=True, help_text=f"Estimate, prices of {sizes.PRICES_FROM}.")
    cost = CostOut()
    kubernetes_version = serializers.CharField()
    config = serializers.JSONField()
    tags = serializers.JSONField()
    drift = DriftOut(many=True)
    observed = serializers.JSONField()
    observed_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_null=True)
    operation = serializers.UUIDField(required=False, allow_null=True)


class AcceptedOut(http.Shape):
    """Where to follow the long job."""

    operation = serializers.UUIDField()
    state = serializers.CharField()
    kind = serializers.CharField()
    target = serializers.CharField()
    url = serializers.CharField()
    warnings = serializers.ListField(child=serializers.CharField())


DERIVED = ("power_state", "created_by", "operation", "usd_hour", "drift", "cost")


def target_json(target: Any) -> dict[str, Any]:
    """A compute target without its operation."""
    names = [str(name) for name in TargetOut().fields if str(name) not in DERIVED]
    estimate = cost.of(target)
    return {
        **{name: getattr(target, name) for name in names},
        "power_state": power.seen(target),
        "usd_hour": estimate.usd_hour,
        "drift": target.observed.get("drift") or [],
        "cost": asdict(estimate),
        "created_by": target.created_by.username if target.created_by else None,
    }
