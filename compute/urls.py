"""Addresses of compute targets."""

from __future__ import annotations

from django.urls import path

from compute import api

HOME = "workspaces/<slug:workspace>"
ONE = f"{HOME}/compute-targets/<str:name>"
api_urls = [
    path(f"{HOME}/compute-targets/", api.ComputeTargets.as_view(), name="api-compute-list"),
    path(f"{HOME}/compute-targets/attach/", api.Attach.as_view(), name="api-compute-attach"),
    path(f"{ONE}/", api.ComputeTargetDetail.as_view(), name="api-compute"),
    path(f"{ONE}/scale/", api.Scale.as_view(), name="api-compute-scale"),
    path(f"{ONE}/detach/", api.Detach.as_view(), name="api-compute-detach"),
    path(f"{ONE}/credentials/", api.Credentials.as_view(), name="api-compute-credentials"),
    path(f"{HOME}/vm-sizes/", api.VmSizes.as_view(), name="api-vm-sizes"),
    path(f"{HOME}/clusters/", api.Clusters.as_view(), name="api-clusters"),
]
page_urls: list[object] = []
