"""The main job by hand, with real processes: sign in, create, deploy, drag both sliders, see the effect."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.journeys.crash.house import House

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECOND = 1000  # Playwright counts in milliseconds
pytestmark = [
    pytest.mark.journey,
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
SCRIPT = """
import os


def init():
    global name
    name = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "name.txt")).read()


def run(data):
    return {"model": name}
"""


@pytest.fixture(scope="module")
def home(yard: House) -> dict[str, Any]:
    """The credentials of a home with everything around it."""
    return dict(json.loads(yard.file("credentials.json").read_text()))


@pytest.fixture
def page(home: dict[str, Any]) -> Iterator[Page]:
    """A browser at the sign-in form. Nothing may be blocked by the content security policy on the way."""
    blocked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page(base_url=home["http_url"])
        made.on("console", lambda line: blocked.append(line.text) if "Content Security" in line.text else None)
        yield made
        browser.close()
    assert blocked == []


def state(page: Page, text: str, seconds: int) -> None:
    """Wait until the object of the page is in a state; pages renew themselves."""
    expect(page.locator(".head .chip", has_text=text)).to_be_visible(timeout=seconds * SECOND)


def settled(page: Page, seconds: int) -> None:
    """Wait until no operation is shown: it succeeded, and the page showed what became of it."""
    expect(page.locator("main .panel", has_text="Steps and log")).to_have_count(0, timeout=seconds * SECOND)
    expect(page.locator("section.operation")).to_have_count(0, timeout=seconds * SECOND)


def drag(page: Page, slider: Locator, to: float) -> None:
    """Drag a range input with the mouse to a value."""
    box = slider.bounding_box()
    assert box is not None
    low, high, now = (float(slider.evaluate(f"each => each.{name}")) for name in ("min", "max", "value"))
    thumb = 16

    def x(value: float) -> float:
        return box["x"] + thumb / 2 + (box["width"] - thumb) * (value - low) / (high - low)

    middle = box["y"] + box["height"] / 2
    page.mouse.move(x(now), middle)
    page.mouse.down()
    page.mouse.move(x(to), middle, steps=10)
    page.mouse.up()


def create_cluster(page: Page, root: str) -> None:
    page.goto(root + "new/compute/")
    page.get_by_label("DevTest").check()
    page.get_by_label("Name", exact=True).fill("browser-1")
    page.locator("#node_count").fill("2")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("section.operation")).to_contain_text("Await created", timeout=10 * SECOND)
    state(page, "Succeeded", 90)


def register(page: Page, root: str, folder: Path) -> None:
    """Two versions of a model and an environment."""
    for name in ("one", "two"):
        page.goto(root + "new/model/")
        page.get_by_label("Name", exact=True).fill("paged")
        (folder / "name.txt").write_text(name)
        page.set_input_files("#files", folder / "name.txt")
        page.get_by_role("button", name="Register").click()
        expect(page.locator("h1")).to_contain_text("paged:")
    page.goto(root + "new/environment/")
    page.get_by_label("Name", exact=True).fill("plain")
    page.locator("[name=requirements]").fill("joblib>=1")
    page.get_by_role("button", name="Register").click()
    expect(page.locator("h1")).to_have_text("plain:1")


def deploy(page: Page, address: str, model: str, **fields: str) -> None:
    page.goto(address)
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    page.select_option("#models", model)
    page.fill("#code", SCRIPT)
    page.fill("#min_replicas", "1")
    page.fill("#max_replicas", "2")
    page.get_by_role("button", name="Deploy").click()
    expect(page.locator("section.operation")).to_be_visible(timeout=15 * SECOND)
    settled(page, 240)


def move_traffic(page: Page) -> float:
    """Drag v2's slider, apply, and wait for the effect; answers the share that was set."""
    row = page.locator("[data-row=v2]")
    drag(page, row.locator("[data-range]"), 40)
    share = float(row.locator("[data-number]").input_value())
    assert abs(share - 40) <= 1
    page.get_by_role("button", name="Apply").click()
    settled(page, 30)
    expect(row.locator("[data-effective]")).to_have_text(f"{share:g} %")
    return share


def is_fair(uri: str, key: str, share: float) -> bool:
    """Whether 400 answers are within the 99 % interval, outside of which 1 fair draw of 100 is."""
    counted = answers(uri, key, 400)
    assert counted.total() == 400
    return abs(100 * counted["v2"] / 400 - share) < 6.4


def answers(uri: str, key: str, count: int) -> Counter[str]:
    """Who answered, by the gateway's own word, asked by a client that is no browser."""
    found: Counter[str] = Counter()
    for _ in range(count):
        request = urllib.request.Request(
            uri, b"{}", {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            found[response.headers["azureml-model-deployment"]] += 1
    return found


def try_it(page: Page) -> None:
    page.get_by_role("button", name="Send").click()
    tried = page.locator("#tried .try")
    expect(tried).to_have_count(3)
    expect(tried.nth(1)).to_contain_text('"one"', timeout=15 * SECOND)
    expect(tried.nth(2)).to_contain_text('"two"', timeout=15 * SECOND)


def look_inside(page: Page) -> None:
    page.get_by_role("link", name="Show", exact=True).click()
    expect(page.locator("#inside .console").first).to_contain_text("POST /score 200", timeout=15 * SECOND)
    expect(page.locator("#inside")).to_contain_text("Started container server")


def scale(page: Page, root: str) -> None:
    page.goto(root + "compute/browser-1/")
    drag(page, page.get_by_role("slider", name="Node count"), 3)
    assert page.locator("#node_count").input_value() == "3"
    page.get_by_role("button", name="Scale").click()
    expect(page.locator("#nodes")).to_contain_text("3 wanted / 3 ready", timeout=90 * SECOND)


def test_the_main_job_by_hand(page: Page, home: dict[str, Any], tmp_path: Path) -> None:
    page.goto("/")
    page.fill("[name=username]", home["username"])
    page.fill("[name=password]", home["password"])
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Overview")
    root = f"/w/{home['workspace']}/"
    create_cluster(page, root)
    register(page, root, tmp_path)
    deploy(page, root + "new/endpoint/", "paged:1", name="names")
    state(page, "Healthy", 10)
    deploy(page, root + "endpoints/names/add/", "paged:2", version="v2")
    share = move_traffic(page)
    try_it(page)
    page.get_by_role("button", name="Show the keys").click()
    key = page.locator("#key-primary").inner_text()
    uri = page.locator("#uri").inner_text()
    assert is_fair(uri, key, share) or is_fair(uri, key, share), "twice outside of the 99 % interval of 400 answers"
    expect(page.locator("#live")).to_contain_text(" answers", timeout=30 * SECOND)
    expect(page.locator("#observed-v2")).to_contain_text("%", timeout=30 * SECOND)
    look_inside(page)
    scale(page, root)
