"""Pages in a real browser: what scripts add, and that everything works without them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from compute.models import ComputeTarget
from endpoints.models import Endpoint, EndpointVersion
from portal.models import Operation, User, Workspace
from tests import page_rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
PAGES = (
    "", "compute/", "compute/prod-1/", "compute/prod-1/gateway/", "new/compute/", "new/pool/prod-1/", "models/",
    "models/iris/3/", "new/model/", "environments/",
    "environments/sklearn/1/", "new/environment/", "services/", "services/churn/", "services/fraud/", "new/endpoint/",
    "endpoints/", "endpoints/iris/", "endpoints/iris/versions/v2/", "endpoints/iris/add/", "operations/", "history/",
    "search/?q=i", "collected/?service=iris",
)  # fmt: skip


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for this module. Playwright keeps an event loop in this thread: Django has to bear its database
    beside it, and it must be gone before tests that run loops of their own.
    """
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def portal(chrome: Browser, live_server: Any, workspace: Workspace, owner: User) -> str:
    """The address of a workspace full of rows."""
    page_rows.everything(workspace, owner)
    return f"{live_server.url}/w/{workspace.slug}/"


def sign_in(page: Page, portal: str, owner: User) -> None:
    page.goto(portal)
    page.fill("[name=username]", owner.username)
    page.fill("[name=password]", "correct horse")
    page.keyboard.press("Enter")
    expect(page).to_have_url(portal)  # the form has a heading too
    expect(page.locator("main h1")).to_be_visible()


@pytest.fixture
def inside(chrome: Browser, portal: str, owner: User) -> Iterator[Page]:
    """A signed-in page. No test may leave an error in the console: a blocked style or script shows there."""
    errors: list[str] = []
    context = chrome.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
    sign_in(page, portal, owner)
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def plain(chrome: Browser, portal: str, owner: User) -> Iterator[Page]:
    """A signed-in page of a browser without JavaScript."""
    context: BrowserContext = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, portal, owner)
    yield page
    context.close()


def row(page: Page, name: str) -> Any:
    return page.locator(f"[data-row={name}]")


def slide(page: Page, name: str, percent: float) -> None:
    """Drag the slider of a version with the mouse from where it is to a percent of its track."""
    slider = row(page, name).locator("[data-range]")
    box = slider.bounding_box()
    assert box is not None
    at = float(slider.input_value())
    thumb, track = 16, box["width"] - 16
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + thumb / 2 + track * at / 100, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + thumb / 2 + track * percent / 100, middle, steps=8)
    page.mouse.up()


def shares() -> dict[str, float]:
    found = EndpointVersion.objects.filter(endpoint__name="iris").values_list("name", "traffic_percentile")
    return {name: float(share) for name, share in found}


def test_dragging_one_slider_moves_no_other_and_apply_stores_the_draft(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    slide(inside, "v2", 40)
    wanted = float(row(inside, "v2").locator("[data-number]").input_value())
    assert abs(wanted - 40) <= 1
    assert row(inside, "v1").locator("[data-number]").input_value() == "20"
    assert shares()["v2"] == 30, "a draft is not stored before it is applied"
    inside.get_by_role("button", name="Apply").click()
    expect(inside.get_by_role("link", name="Steps and log").or_(inside.locator(".operation"))).to_be_visible()
    assert shares() == {"v1": 20, "v2": wanted, "v3": 10}
    assert Operation.objects.filter(kind="endpoint.update").count() == 1


def test_a_slider_stops_where_the_others_begin_and_the_row_names_them(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    slide(inside, "v2", 100)
    assert row(inside, "v2").locator("[data-number]").input_value() == "70"
    expect(row(inside, "v2").locator("[data-limit]")).to_have_text("At most 70: v1 holds 20, v3 holds 10.")


def test_typing_too_much_is_shown_red_and_blocks_apply(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    number = row(inside, "v2").locator("[data-number]")
    number.fill("82")
    expect(number).to_have_attribute("aria-invalid", "true")
    expect(row(inside, "v2").locator("[data-limit]")).to_contain_text("12 too many")
    assert row(inside, "v1").locator("[data-range]").input_value() == "20", "moving one slider never moves another"
    expect(row(inside, "v1").locator("[data-number]")).to_have_attribute("aria-invalid", "false")
    expect(inside.locator("[data-summary]")).to_contain_text("The percentiles add to 112")
    expect(inside.get_by_role("button", name="Apply")).to_be_disabled()
    number.fill("70")
    expect(inside.get_by_role("button", name="Apply")).to_be_enabled()


def test_the_keyboard_moves_by_one_and_with_shift_by_a_tenth(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    row(inside, "v2").locator("[data-range]").focus()
    inside.keyboard.press("ArrowRight")
    inside.keyboard.press("Shift+ArrowRight")
    assert row(inside, "v2").locator("[data-number]").input_value() == "31.1"
    expect(inside.locator("[data-say]")).to_contain_text("v2 effective 31.1 percent")


def test_the_page_computes_the_same_shares_as_the_server(inside: Page, portal: str) -> None:
    """Drafts are computed in the browser; what was stored is computed by endpoints/traffic.py."""
    for default, split in (("v1", (20, 30, 10)), ("v2", (0, 45, 15)), ("v3", (25, 25, 50)), ("v3", (0, 0, 0))):
        inside.goto(portal + "endpoints/iris/")
        for name, value in zip(("v1", "v2", "v3"), split, strict=True):
            row(inside, name).locator("[data-number]").fill(str(value))
        row(inside, default).locator("[name=default]").check()
        drafted = inside.locator("[data-effective], [data-words]").all_inner_texts()
        EndpointVersion.objects.update(is_default=False)
        for name, value in zip(("v1", "v2", "v3"), split, strict=True):
            rows = EndpointVersion.objects.filter(endpoint__name="iris", name=name)
            rows.update(traffic_percentile=value, is_default=name == default)
        context = inside.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
        context.add_cookies(inside.context.cookies())  # type: ignore[arg-type]
        served = context.new_page()
        served.goto(portal + "endpoints/iris/")
        assert served.locator("[data-effective], [data-words]").all_inner_texts() == drafted
        context.close()


def test_a_change_of_the_default_says_what_follows(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    row(inside, "v2").locator("[name=default]").check()
    expect(inside.locator("[data-summary]")).to_contain_text("v2 becomes the default and gets what nobody claims")
    expect(row(inside, "v2").locator("[data-words]")).to_contain_text("30 set + 40 remainder = 70 %")


def test_shortcuts_fill_the_draft(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    numbers = inside.locator("[data-number]")

    def values() -> list[str]:
        return [numbers.nth(index).input_value() for index in range(3)]

    inside.get_by_role("button", name="Even split").click()
    assert values() == ["33.33", "33.33", "33.33"]
    inside.get_by_role("button", name="All to default").click()
    assert values() == ["0", "0", "0"]
    inside.get_by_role("button", name="The split before").click()
    assert values() == ["100", "0", "0"]
    inside.get_by_role("button", name="Drop the draft").click()
    assert values() == ["20", "30", "10"]
    row(inside, "v2").get_by_role("button", name="5", exact=True).click()
    assert values() == ["20", "5", "10"]


def test_news_arrive_while_somebody_types_and_take_nothing_away(inside: Page, portal: str) -> None:
    inside.goto(portal + "endpoints/iris/")
    number = row(inside, "v2").locator("[data-number]")
    number.fill("42")
    page_rows.answers(Endpoint.objects.get(name="churn"), v2=1)
    EndpointVersion.objects.get(endpoint__name="iris", name="v3")
    deployment = EndpointVersion.objects.get(endpoint__name="iris", name="v3").deployment
    type(deployment).objects.filter(pk=deployment.pk).update(ready_replicas=2, state="Healthy")
    EndpointVersion.objects.filter(endpoint__name="iris", name="v3").update(is_routed=True)
    expect(row(inside, "v3").locator("[id^=replicas]")).to_contain_text("2 of 2 ready", timeout=6000)
    expect(row(inside, "v3").locator("[data-effective]")).to_have_text("10 %")
    assert number.input_value() == "42"


def test_the_node_slider_says_what_a_count_means_and_scales(inside: Page, portal: str) -> None:
    inside.goto(portal + "compute/prod-1/")
    slider = inside.get_by_role("slider", name="Node count")
    slider.focus()
    for _ in range(3):
        inside.keyboard.press("ArrowRight")
    expect(inside.locator("[data-sum]")).to_contain_text("6 × 4 vCPUs = 24 vCPUs")
    expect(inside.locator("[data-sum]")).to_contain_text("+3 against now")
    inside.get_by_role("button", name="Scale").click()
    expect(inside.locator("main .chip", has_text="Scaling").first).to_be_visible()
    assert ComputeTarget.objects.get(name="prod-1").node_count == 6


def test_below_the_floor_the_slider_names_the_smallest_count(inside: Page, portal: str) -> None:
    inside.goto(portal + "new/compute/")
    inside.locator("#node_count").fill("2")
    expect(inside.locator("[data-sum]")).to_contain_text("Too few: FastProd needs at least 3")
    inside.get_by_label("DevTest").check()
    expect(inside.locator("[data-sum]")).not_to_contain_text("Too few")


def test_the_form_of_a_node_pool_tells_what_its_nodes_come_to_and_scales_from_the_page(
    inside: Page, portal: str
) -> None:
    inside.goto(portal + "new/pool/prod-1/")
    inside.select_option("#vm_size", "Standard_NC4as_T4_v3")
    inside.locator("#count").fill("2")
    expect(inside.locator("[data-sum]")).to_contain_text("2 × 4 vCPUs = 8 vCPUs, 56 GB")
    expect(inside.locator("[data-sum]")).not_to_contain_text("Too few")
    inside.goto(portal + "compute/prod-1/")
    inside.get_by_text("Change gpu1").click()
    inside.locator("#max-gpu1").fill("5")
    inside.get_by_role("button", name="Scale gpu1").click()
    expect(inside.locator("#pool-rows")).to_contain_text("0 to 5, by load")


def test_an_operation_opens_in_a_drawer_and_goes_on_moving_there(inside: Page, portal: str) -> None:
    inside.goto(portal + "operations/")
    inside.get_by_role("link", name="Create compute target gpu-west").click()
    drawer = inside.get_by_role("dialog")
    expect(drawer).to_contain_text("Await nodes")
    Operation.objects.filter(kind="compute.create").update(note="4 of 4 nodes")
    expect(drawer).to_contain_text("4 of 4 nodes", timeout=4000)
    inside.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()
    assert inside.url == portal + "operations/"


def test_polling_stops_when_the_operation_ends(inside: Page, portal: str) -> None:
    op = Operation.objects.get(kind="compute.create")
    inside.goto(f"{portal}operations/{op.pk}/")
    polls: list[str] = []
    inside.on("request", lambda request: polls.append(request.url) if "/live/" in request.url else None)
    Operation.objects.filter(pk=op.pk).update(state="Succeeded", step=4, ended_at=op.created_at)
    expect(inside.locator("main .chip", has_text="Succeeded").first).to_be_visible(timeout=4000)
    inside.wait_for_timeout(500)
    seen = len(polls)
    inside.wait_for_timeout(2500)
    assert len(polls) == seen


def test_colours_follow_the_system_and_the_switch(inside: Page, portal: str) -> None:
    inside.emulate_media(color_scheme="dark")
    dark = inside.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    inside.get_by_role("button", name="Light").click()
    light = inside.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark, light) == ("rgb(15, 20, 26)", "rgb(244, 246, 248)")


@pytest.mark.timeout(300)
def test_axe_finds_nothing_on_any_page_and_none_is_wider_than_the_screen(inside: Page, portal: str) -> None:
    found: dict[tuple[str, str], Any] = {}
    for path in PAGES:
        inside.goto(portal + path)
        for scheme in ("light", "dark"):
            inside.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour on its way to another
            if wrong := violations(inside):
                found[path, scheme] = wrong
        for width in (360, 768, 1920):
            inside.set_viewport_size({"width": width, "height": 800})
            over = inside.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if over > 0:
                found[path, f"{width} wide"] = over
        inside.set_viewport_size({"width": 1280, "height": 720})
    assert found == {}


def violations(page: Page) -> list[Any]:
    """What axe complains about, and where."""
    rows = Axe().run(page).response["violations"]
    return [(each["id"], [node["html"][:140] for node in each["nodes"]]) for each in rows]


def test_without_javascript_every_page_reads_and_the_split_can_be_changed(plain: Page, portal: str) -> None:
    for path in PAGES:
        plain.goto(portal + path)
        assert plain.locator("main").count() == 1
        assert len(plain.locator("main").inner_text()) > 40
    plain.goto(portal + "endpoints/iris/")
    plain.fill("[name=share-v2]", "45")
    plain.click("[data-apply]")
    assert shares()["v2"] == 45
    assert "Update endpoint" in plain.locator("main").inner_text()


def test_without_javascript_a_cluster_scales_and_keys_show(plain: Page, portal: str) -> None:
    plain.goto(portal + "compute/prod-1/")
    plain.fill("#node_count", "4")
    plain.get_by_role("button", name="Scale").click()
    assert ComputeTarget.objects.get(name="prod-1").node_count == 4
    plain.goto(portal + "endpoints/iris/")
    plain.get_by_role("button", name="Show the keys").click()
    expect(plain.locator("#key-primary")).to_have_text("primary-key-of-iris-0123456789")
