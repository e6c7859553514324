"""Addresses of compute targets."""

from __future__ import annotations

from django.urls import path

from compute.api import access, checks, offers, pools, power, targets
from compute.views import pools as pool_views
from compute.views import power as power_views
from compute.views import targets as views

HOME = "workspaces/<slug:workspace>"
ONE = f"{HOME}/compute-targets/<str:name>"
POOL = f"{ONE}/pools/<str:pool>"
api_urls = [
    path(f"{HOME}/compute-targets/", targets.ComputeTargets.as_view(), name="api-compute-list"),
    path(f"{HOME}/compute-targets/attach/", targets.Attach.as_view(), name="api-compute-attach"),
    path(f"{HOME}/compute-targets/preflight/", checks.Preflight.as_view(), name="api-compute-preflight"),
    path(f"{ONE}/", targets.ComputeTargetDetail.as_view(), name="api-compute"),
    path(f"{ONE}/scale/", targets.Scale.as_view(), name="api-compute-scale"),
    path(f"{ONE}/start/", power.Start.as_view(), name="api-compute-start"),
    path(f"{ONE}/stop/", power.Stop.as_view(), name="api-compute-stop"),
    path(f"{ONE}/autoscaler/", power.Autoscaler.as_view(), name="api-compute-autoscaler"),
    path(f"{ONE}/adopt/", targets.Adopt.as_view(), name="api-compute-adopt"),
    path(f"{ONE}/detach/", access.Detach.as_view(), name="api-compute-detach"),
    path(f"{ONE}/credentials/", access.Credentials.as_view(), name="api-compute-credentials"),
    path(f"{ONE}/kubeconfig/", targets.Kubeconfig.as_view(), name="api-compute-kubeconfig"),
    path(f"{ONE}/pools/", pools.NodePools.as_view(), name="api-pools"),
    path(f"{POOL}/", pools.NodePool.as_view(), name="api-pool"),
    path(f"{POOL}/scale/", pools.ScalePool.as_view(), name="api-pool-scale"),
    path(f"{POOL}/adopt/", pools.AdoptPool.as_view(), name="api-pool-adopt"),
    path(f"{HOME}/vm-sizes/", offers.VmSizes.as_view(), name="api-vm-sizes"),
    path(f"{HOME}/clusters/", offers.Clusters.as_view(), name="api-clusters"),
]
PAGES = "w/<slug:workspace>/compute"
page_urls = [
    path(f"{PAGES}/", views.compute_list, name="compute-list"),
    path("w/<slug:workspace>/new/compute/", views.compute_create, name="compute-create"),
    path("w/<slug:workspace>/new/attachment/", views.compute_attach, name="compute-attach"),
    path(f"{PAGES}/<str:name>/", views.compute, name="compute"),
    path(f"{PAGES}/<str:name>/live/", views.compute_live, name="compute-live"),
    path(f"{PAGES}/<str:name>/scale/", views.compute_scale, name="compute-scale"),
    path(f"{PAGES}/<str:name>/start/", power_views.compute_start, name="compute-start"),
    path(f"{PAGES}/<str:name>/stop/", power_views.compute_stop, name="compute-stop"),
    path(f"{PAGES}/<str:name>/autoscaler/", power_views.compute_autoscaler, name="compute-autoscaler"),
    path(f"{PAGES}/<str:name>/detach/", views.compute_detach, name="compute-detach"),
    path(f"{PAGES}/<str:name>/adopt/", views.compute_adopt, name="compute-adopt"),
    path(f"{PAGES}/<str:name>/leftovers/", views.compute_leftovers, name="compute-leftovers"),
    path(f"{PAGES}/<str:name>/delete/", views.compute_delete, name="compute-delete"),
    path("w/<slug:workspace>/new/pool/<str:name>/", pool_views.pool_add, name="pool-add"),
    path(f"{PAGES}/<str:name>/pools/", pool_views.pools, name="pools"),
    path(f"{PAGES}/<str:name>/pools/<str:pool>/scale/", pool_views.pool_scale, name="pool-scale"),
    path(f"{PAGES}/<str:name>/pools/<str:pool>/adopt/", pool_views.pool_adopt, name="pool-adopt"),
    path(f"{PAGES}/<str:name>/pools/<str:pool>/remove/", pool_views.pool_remove, name="pool-remove"),
    path(f"{PAGES}/<str:name>/kubeconfig/", views.compute_kubeconfig, name="compute-kubeconfig"),
    path(f"{PAGES}/<str:name>/credentials/", views.compute_credentials, name="compute-credentials"),
]
