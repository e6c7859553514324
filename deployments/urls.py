"""Addresses of models, environments, code, and what pods fetch."""

from __future__ import annotations

from django.urls import path, re_path

from deployments.api import environments, fetch, models

HOME = "workspaces/<slug:workspace>"
MODEL = f"{HOME}/models/<str:name>"
ENVIRONMENT = f"{HOME}/environments/<str:name>/<int:version>"
api_urls = [
    path(f"{HOME}/models/", models.Models.as_view(), name="api-models"),
    path(f"{MODEL}/", models.ModelVersions.as_view(), name="api-model-versions"),
    path(f"{MODEL}/<int:version>/", models.ModelDetail.as_view(), name="api-model"),
    path(f"{MODEL}/<int:version>/download/", models.ModelDownload.as_view(), name="api-model-download"),
    path(f"{HOME}/code/", models.Code.as_view(), name="api-code"),
    path(f"{HOME}/environments/", environments.Environments.as_view(), name="api-environments"),
    path(f"{ENVIRONMENT}/", environments.EnvironmentDetail.as_view(), name="api-environment"),
    path(f"{ENVIRONMENT}/build/", environments.EnvironmentBuild.as_view(), name="api-environment-build"),
    path(f"{ENVIRONMENT}/log/", environments.EnvironmentLog.as_view(), name="api-environment-log"),
    path("fetch/<int:deployment>/<int:revision>/", fetch.Fetch.as_view(), name="api-fetch"),
    re_path(r"^blobs/(?P<digest>[0-9a-f]{64})/?$", fetch.Blob.as_view(), name="api-blob"),
]
page_urls: list[object] = []
