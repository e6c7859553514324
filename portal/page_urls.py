"""Addresses of the shared pages; the apps' own pages are in their `urls.py`."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from portal import azure_views, views

page_urls = [
    path("", views.home, name="home"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("theme/", views.theme, name="theme"),
    path("tokens/", views.tokens, name="tokens"),
    path("tokens/<int:id>/revoke/", views.token_revoke, name="token-revoke"),
    path("w/<slug:workspace>/", views.overview, name="overview"),
    path("w/<slug:workspace>/settings/azure/", azure_views.settings, name="settings-azure"),
    path("w/<slug:workspace>/settings/azure/test/", azure_views.test, name="settings-azure-test"),
    path("w/<slug:workspace>/search/", views.search, name="search"),
    path("w/<slug:workspace>/history/", views.history, name="history"),
    path("w/<slug:workspace>/operations/", views.operation_list, name="operation-list"),
    path("w/<slug:workspace>/operations/<uuid:id>/", views.operation, name="operation"),
    path("w/<slug:workspace>/operations/<uuid:id>/live/", views.operation_live, name="operation-live"),
    path("w/<slug:workspace>/operations/<uuid:id>/cancel/", views.operation_cancel, name="operation-cancel"),
    path("w/<slug:workspace>/operations/<uuid:id>/retry/", views.operation_retry, name="operation-retry"),
]
