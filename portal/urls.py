"""Every route root."""

from __future__ import annotations

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

import compute.urls
import deployments.urls
import endpoints.urls
from portal import api, azure_api, health, metrics
from portal.page_urls import page_urls

api_urls = [
    path("workspaces/", api.Workspaces.as_view()),
    path("workspaces/<slug:workspace>/", azure_api.WorkspaceDetail.as_view()),
    path("workspaces/<slug:workspace>/azure/test/", azure_api.ConnectionTest.as_view()),
    path("workspaces/<slug:workspace>/operations/", api.Operations.as_view()),
    path("workspaces/<slug:workspace>/operations/<uuid:id>/", api.OperationDetail.as_view()),
    path("workspaces/<slug:workspace>/operations/<uuid:id>/log/", api.OperationLogLines.as_view()),
    path("workspaces/<slug:workspace>/operations/<uuid:id>/cancel/", api.OperationCancel.as_view()),
    path("workspaces/<slug:workspace>/operations/<uuid:id>/retry/", api.OperationRetry.as_view()),
    path("workspaces/<slug:workspace>/audit/", api.Audit.as_view()),
    path("teams/<slug:team>/members/", api.Members.as_view()),
    path("tokens/", api.Tokens.as_view()),
    path("tokens/<int:id>/", api.TokenDetail.as_view()),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", api.Docs.as_view(url_name="schema"), name="docs"),
    *compute.urls.api_urls,
    *deployments.urls.api_urls,
    *endpoints.urls.api_urls,
]
urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics.metrics),
    path("api/v1/", include(api_urls)),
    *page_urls,
    *compute.urls.page_urls,
    *deployments.urls.page_urls,
    *endpoints.urls.page_urls,
]
handler404 = "portal.health.not_found"
handler500 = "portal.health.server_error"
