"""Takes the pictures in docs/screenshots: `pytest tests/journeys/screenshots.py`. Not collected by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from portal.launcher import notice
from portal.models import Operation, User
from tests.journeys.test_browser import chrome, portal, sign_in

__all__ = ["chrome", "portal"]
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
WIDTHS, SCHEMES = (1440, 390), ("light", "dark")
PAGES = {
    "overview": "", "compute": "compute/", "compute-detail": "compute/prod-1/", "compute-create": "new/compute/",
    "pool-add": "new/pool/prod-1/", "gateway": "compute/prod-1/gateway/",
    "models": "models/", "model": "models/iris/3/", "model-register": "new/model/", "environments": "environments/",
    "environment": "environments/sklearn/1/", "environment-register": "new/environment/", "services": "services/",
    "service": "services/churn/", "service-failed": "services/fraud/", "deploy": "new/service/",
    "attach": "new/attachment/", "settings-azure": "settings/azure/",
    "settings-running": "settings/running/", "endpoints": "endpoints/",
    "endpoint": "endpoints/iris/", "version": "endpoints/iris/versions/v2/",
    "version-add": "endpoints/iris/add/", "operations": "operations/", "history": "history/", "search": "search/?q=i",
    "collected": "collected/?service=iris", "not-found": "models/none/",
}  # fmt: skip


@pytest.fixture(params=SCHEMES)
def page(request: Any, chrome: Browser, portal: str) -> Iterator[Page]:
    context = chrome.new_context(color_scheme=request.param)
    made = context.new_page()
    made.scheme = request.param  # type: ignore[attr-defined]
    yield made
    context.close()


def take(page: Page, address: str, name: str) -> None:
    """One picture for each width, as tall as the page so that nothing sticks in the middle."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(address)
        page.wait_for_timeout(150)
        tall = int(page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": width, "height": max(tall, 800)})
        page.wait_for_timeout(100)
        path = FOLDER / f"{name}-{page.scheme}-{width}.png"  # type: ignore[attr-defined]
        page.screenshot(path=path)


def test_take_all(page: Page, portal: str, owner: User, settings: Any) -> None:
    settings.SANDBOX_NOTICE = notice.on_pages()
    FOLDER.mkdir(parents=True, exist_ok=True)
    address = portal.split("/w/")[0]
    take(page, f"{address}/sign-in/", "sign-in")
    sign_in(page, portal, owner)
    for name, path in PAGES.items():
        take(page, portal + path, name)
    take(page, f"{address}/tokens/", "tokens")
    for kind, name in (("compute.create", "operation"), ("service.create", "operation-failed")):
        take(page, f"{portal}operations/{Operation.objects.get(kind=kind).pk}/", name)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{portal}operations/")
    page.get_by_role("link", name="Create compute target gpu-west").click()
    page.get_by_role("dialog").wait_for()
    page.wait_for_timeout(400)
    page.screenshot(path=FOLDER / f"operation-drawer-{page.scheme}-1440.png")  # type: ignore[attr-defined]
