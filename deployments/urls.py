"""Addresses of models, environments, code, and what pods fetch."""

from __future__ import annotations

from django.urls import path, re_path

from deployments import views
from deployments.api import collect, collected, environments, fetch, models, rules

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
    path(f"{HOME}/collected/", collected.CollectedDays.as_view(), name="api-collected"),
    path(f"{HOME}/collected/<int:id>/", collected.CollectedDetail.as_view(), name="api-collected-day"),
    path(f"{HOME}/collected/<int:id>/lines/", collected.CollectedLines.as_view(), name="api-collected-lines"),
    path("collect/<int:deployment>/", collect.Collect.as_view(), name="api-collect"),
    path(f"{HOME}/rules/", rules.Rules.as_view(), name="api-rules"),
    path(f"{HOME}/registries/", rules.Registries.as_view(), name="api-registries"),
    path(f"{HOME}/registries/<str:server>/", rules.Registry.as_view(), name="api-registry"),
    path("fetch/<int:deployment>/<int:revision>/", fetch.Fetch.as_view(), name="api-fetch"),
    re_path(r"^blobs/(?P<digest>[0-9a-f]{64})/?$", fetch.Blob.as_view(), name="api-blob"),
]
PAGES = "w/<slug:workspace>"
page_urls = [
    path(f"{PAGES}/models/", views.model_list, name="model-list"),
    path(f"{PAGES}/new/model/", views.model_register, name="model-register"),
    path(f"{PAGES}/models/<str:name>/", views.model, name="model-newest"),
    path(f"{PAGES}/models/<str:name>/<int:version>/", views.model, name="model"),
    path(f"{PAGES}/models/<str:name>/<int:version>/delete/", views.model_delete, name="model-delete"),
    path(f"{PAGES}/environments/", views.environment_list, name="environment-list"),
    path(f"{PAGES}/new/environment/", views.environment_register, name="environment-register"),
    path(f"{PAGES}/environments/<str:name>/", views.environment, name="environment-newest"),
    path(f"{PAGES}/environments/<str:name>/<int:version>/", views.environment, name="environment"),
    path(f"{PAGES}/environments/<str:name>/<int:version>/log/", views.environment_log, name="environment-log"),
    path(f"{PAGES}/environments/<str:name>/<int:version>/build/", views.environment_build, name="environment-build"),
    path(f"{PAGES}/collected/", views.collected_list, name="collected-list"),
    path(f"{PAGES}/collected/delete/", views.collected_delete_all, name="collected-delete-all"),
    path(f"{PAGES}/collected/<int:id>/download/", views.collected_download, name="collected-download"),
    path(f"{PAGES}/collected/<int:id>/delete/", views.collected_delete, name="collected-delete"),
    path(f"{PAGES}/settings/running/", views.rules, name="settings-running"),
    path(f"{PAGES}/settings/running/registry/", views.registry_set, name="settings-registry"),
    path(
        f"{PAGES}/settings/running/registry/<str:server>/remove/",
        views.registry_remove,
        name="settings-registry-remove",
    ),
]
