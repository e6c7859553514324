"""The doors of deployments alone."""

from django.urls import include, path

from deployments.urls import api_urls

urlpatterns = [path("api/v1/", include(api_urls))]
