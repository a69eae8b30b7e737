"""The published page in a real browser: it filters, sorts, fits a phone and requests nothing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from catalog_sync.site.write import publish
from published import NOW, catalog, contents, hostile, many_records, source

ARGUMENTS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
NAMES = ["Claude Opus 5", "Claude Late", "Local/Phi", "Claude Old", "Local/Llama"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, or another one that is installed."""
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        if os.environ.get("CATALOG_SYNC_TEST_REQUIRE_SERVERS") == "1":
            pytest.fail("no Chromium is installed")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Publish several catalogs; yield their directory and its address."""
    directory = tmp_path_factory.mktemp("site")
    several = [source(), source("gateway")]
    sites = {
        ".": catalog(),
        "hostile": hostile(),
        "many": contents(many_records(1000), sources=several),
        "none": contents([]),
    }
    for name, each in sites.items():
        publish(directory / name, each.content, each.events)

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield directory, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def opened(browser: Browser, url: str, **options) -> Iterator[Page]:
    """Open a page, and assert that it logs nothing and requests nothing but itself."""
    common = {"viewport": DESKTOP, "locale": "en-GB", "reduced_motion": "reduce"}
    context = browser.new_context(**{**common, **options})
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    assert complaints == []
    outside = [address for address in asked if not address.startswith("data:")]
    assert [address.partition("#")[0] for address in outside] == [url.partition("#")[0]]
    context.close()


def names(page: Page) -> list[str]:
    return page.locator("#models li[id]:visible .name b").all_inner_texts()


def assert_labels_are_whole(page: Page) -> None:
    """No edge of the screen cuts a label of the axis, and none overlap."""
    ticks = page.locator(".axis text:not(.today)").evaluate_all(
        "texts => texts.map(text => text.getBoundingClientRect())"
        ".map(({left, right}) => [left, right])"
    )
    width = page.viewport_size["width"]
    assert all(left >= 0 and right <= width for left, right in ticks)
    assert all(one[1] < other[0] for one, other in pairwise(ticks))


def test_filter_and_sort(browser: Browser, site) -> None:
    """Text, lifecycle, listing and source filter the models; they can be sorted by each fact."""
    with opened(browser, f"{site[1]}index.html") as page:
        assert names(page) == NAMES
        count = page.locator("#count")
        assert count.inner_text() == "5 models"
        page.get_by_label("Search").fill("LOCAL  4,096")
        assert names(page) == ["Local/Phi"]
        assert count.inner_text() == "1 of 5 models"
        page.get_by_label("Search").fill("no such")
        assert names(page) == []
        assert page.get_by_text("No model matches.").is_visible()
        page.get_by_role("button", name="Show all").click()
        assert names(page) == NAMES
        assert page.get_by_label("Search").input_value() == ""
        for label, option, wanted in (
            ("Lifecycle", "deprecated", ["Claude Late"]),
            ("Lifecycle", "not stated", ["Local/Llama"]),
            ("Listing", "removed", ["Claude Old"]),
            ("Source", "gateway", ["Local/Phi", "Local/Llama"]),
        ):
            page.get_by_label(label).select_option(label=option)
            assert names(page) == wanted
            page.get_by_label(label).select_option(label="any")
        assert names(page) == NAMES

        def sorted_by(fact: str) -> list[str]:
            page.get_by_label("Sort by").select_option(label=fact)
            return names(page)

        assert sorted_by("name") == sorted(NAMES)
        # The greatest number or latest date is first; models without one are last.
        assert sorted_by("output tokens")[:2] == ["Claude Late", "Local/Phi"]
        assert sorted_by("first seen")[0] == "Claude Opus 5"
        assert sorted_by("retires")[0] == "Claude Late"
        assert sorted_by("removed")[0] == "Claude Old"
        assert sorted_by("newest release") == NAMES


def test_the_search_is_in_the_address(browser: Browser, site) -> None:
    """The address holds search and filters, so that a link shows the same models."""
    with opened(browser, f"{site[1]}index.html") as page:
        page.get_by_label("Search").fill("local")
        page.get_by_label("Source").select_option(label="gateway")
        address = page.url
        assert address == f"{site[1]}index.html?search=local&source=gateway"
        page.get_by_label("Search").fill("")
        page.get_by_label("Source").select_option(label="any")
        assert page.url == f"{site[1]}index.html"
    with opened(browser, address) as page:
        assert names(page) == ["Local/Phi", "Local/Llama"]
        assert page.get_by_label("Search").input_value() == "local"


def test_a_link_to_a_model(browser: Browser, site) -> None:
    """A row opens, and has a link to itself, which is also copied."""
    with opened(browser, f"{site[1]}index.html", permissions=["clipboard-write"]) as page:
        row = page.locator("#models li[id]", has_text="claude-late")
        assert not row.get_by_text("Output tokens").is_visible()
        row.locator("summary").click()
        assert row.get_by_text("Output tokens").is_visible()
        row.get_by_role("link", name="Copy the link").click()
        assert page.url == f"{site[1]}index.html#anthropic/claude-late"
        assert page.locator("li:target .name b").inner_text() == "Claude Late"


def test_two_models_side_by_side(browser: Browser, site) -> None:
    """Two models are compared fact by fact; the address holds which; a third replaces the first."""
    with opened(browser, f"{site[1]}index.html") as page:
        box = page.get_by_role("region", name="Comparison")
        for id_ in ("claude-late", "claude-opus-5"):
            row = page.locator("#models li[id]", has_text=id_)
            row.locator("summary").click()
            row.get_by_role("button", name="Compare").click()
            assert row.get_by_role("button", name="Compare").get_attribute("aria-pressed") == "true"
        assert box.locator("thead th").all_inner_texts() == ["Claude Late", "Claude Opus 5"]
        tokens = box.get_by_role("row", name="Output tokens")
        assert tokens.locator("td").all_inner_texts() == ["64,000", "–"]
        assert tokens.get_attribute("class") == "differs"
        assert Axe().run(page).response["violations"] == []
        address = page.url
    with opened(browser, address) as page:
        box = page.get_by_role("region", name="Comparison")
        assert box.locator("thead th").all_inner_texts() == ["Claude Late", "Claude Opus 5"]
        row = page.locator("#models li[id]", has_text="claude-old")
        row.locator("summary").click()
        row.get_by_role("button", name="Compare").click()
        assert box.locator("thead th").all_inner_texts() == ["Claude Opus 5", "Claude Old"]
        box.get_by_role("button", name="Close").click()
        assert box.count() == 0
        assert page.url == f"{site[1]}index.html"


def test_a_thousand_models(browser: Browser, site) -> None:
    """A page of a thousand models is below a megabyte, and shows one section of them at first."""
    assert (site[0] / "many" / "index.html").stat().st_size < 1_000_000
    with opened(browser, f"{site[1]}many/index.html") as page:
        assert page.locator("#count").inner_text() == "1,000 models"
        assert 0 < len(names(page)) < 100  # the section of the latest year
        page.get_by_label("Search").fill("some-model-999")
        assert names(page) == ["Vendor/Some Model 999"]
        page.get_by_label("Search").fill("")
        assert page.get_by_text("Released 2026").is_visible()
        page.get_by_label("Sort by").select_option(label="name")  # one list, without sections
        assert len(names(page)) == 1000
        assert names(page)[10] == "Vendor/Some Model 10"
        assert not page.get_by_text("Released 2026").is_visible()


def test_the_rest_of_a_list(browser: Browser, site) -> None:
    """The models that retire later open in place; more changes are on their own page."""
    with opened(browser, f"{site[1]}many/index.html") as page:
        later = page.locator("main .pair li", has_text="Some Model 7")
        assert not later.is_visible()
        page.get_by_text("and 4 more").click()
        assert later.is_visible()
        assert page.get_by_role("link", name="All changes").get_attribute("href") == "changes.html"


def test_from_a_disk(browser: Browser, site) -> None:
    """A page that is opened as a file can filter and sort, too."""
    with opened(browser, (site[0] / "index.html").as_uri()) as page:
        page.get_by_label("Search").fill("claude")
        page.get_by_label("Sort by").select_option(label="name")
        assert names(page) == sorted(NAMES[:2] + NAMES[3:4])


def test_without_a_script(browser: Browser, site) -> None:
    """Without JavaScript all content is visible, and no control without a function."""
    with opened(browser, f"{site[1]}index.html", java_script_enabled=False) as page:
        assert names(page) == NAMES
        assert page.locator("#models summary svg:visible").count() == 5
        assert page.locator("input:visible, select:visible, button:visible").count() == 0
        assert page.locator("#models summary").get_by_text("2026-09-01").is_visible()
        page.locator("#models summary", has_text="Claude Late").click()
        assert page.locator("#models").get_by_text("64,000").is_visible()


@pytest.mark.parametrize("which", ["", "hostile/", "many/", "none/"])
def test_on_a_phone(browser: Browser, site, which: str) -> None:
    """Nothing is wider than a phone, whatever the names."""
    options = {"viewport": PHONE, "color_scheme": "dark", "is_mobile": True}
    with opened(browser, f"{site[1]}{which}index.html", **options) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate("visualViewport.width") == 360
        assert page.get_by_role("heading", name="Every model, from").is_visible()
        assert_labels_are_whole(page)
        if which == "":
            page.get_by_label("Search").fill("claude")
            page.get_by_label("Sort by").select_option(label="name")
            assert names(page) == sorted(NAMES[:2] + NAMES[3:4])


def test_on_paper(browser: Browser, site) -> None:
    """In print the page is black on white, without controls."""
    with opened(browser, f"{site[1]}many/index.html", color_scheme="dark") as page:
        page.set_viewport_size({"width": 680, "height": 900})  # the width of A4 without margins
        page.emulate_media(media="print")
        assert luminance(page.evaluate("getComputedStyle(document.body).color")) < 0.1
        assert len(names(page)) > 0
        assert page.locator("input:visible, select:visible, nav:visible").count() == 0


@pytest.mark.parametrize("which", ["", "hostile/"])
@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"]
)
def test_it_is_accessible(browser: Browser, site, scheme: str, viewport, which: str) -> None:
    """Axe finds nothing, and text has the contrast of WCAG, also in the timeline."""
    options = {"viewport": viewport, "color_scheme": scheme}
    with opened(browser, f"{site[1]}{which}index.html", **options) as page:
        for row in page.locator("#models summary").all()[:3]:
            row.click()
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        paper = colour(page, "body", "backgroundColor")
        assert (luminance(paper) > 0.5) is (scheme == "light")
        for place in ("body", ".row time", "li.gone .name b", "code", "footer"):
            assert contrast(colour(page, place, "color"), paper) >= 4.5, place
        assert contrast(colour(page, ".axis text", "fill"), paper) >= 4.5
        for place in ("rect.live", "rect.late", "rect.gone", "use.date"):
            assert contrast(colour(page, place, "fill"), paper) >= 3, place


def colour(page: Page, place: str, what: str) -> str:
    return page.locator(place).first.evaluate(f"e => getComputedStyle(e).{what}")


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    shares = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("which", ["", "hostile/"])
def test_a_link_leads_to_its_row(browser: Browser, site, which: str) -> None:
    """The row that feed and calendar link to is in view, whatever its characters."""
    with opened(browser, f"{site[1]}{which}index.html") as page:
        rows = page.locator("#models li[id]")
        for id_ in rows.evaluate_all("rows => rows.map(row => row.id)"):
            page.goto(f"{site[1]}{which}index.html#{id_}")
            assert page.evaluate("document.querySelector(':target').id") == id_
            expect(page.locator(":target summary")).to_be_in_viewport()
            assert page.locator(":target details").evaluate("it => it.open")


def test_a_link_to_a_hidden_row(browser: Browser, site) -> None:
    """A change leads to its model; a filter that hides it is reset."""
    with opened(browser, f"{site[1]}index.html") as page:
        page.get_by_label("Source").select_option(label="gateway")
        page.locator(".kinds li", has_text="removed").get_by_role("link").click()
        assert names(page) == NAMES
        expect(page.locator("li:target summary")).to_be_in_viewport()
        assert page.locator("li:target .name b").inner_text() == "Claude Old"


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"]
)
@pytest.mark.parametrize("which", ["", "hostile/"])
def test_the_page_of_changes(browser: Browser, site, scheme: str, viewport, which: str) -> None:
    """The page of all changes is accessible, fits a phone, and leads to the models."""
    options = {"viewport": viewport, "color_scheme": scheme}
    with opened(browser, f"{site[1]}{which}changes.html", **options) as page:
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
        links = page.locator(".log a").evaluate_all("links => links.map(link => link.hash)")
        assert all(
            link.startswith("#anthropic/") or "all" in link or "gw" in link for link in links
        )


def test_days_from_today(browser: Browser, site) -> None:
    """The distance of a date counts from the reader's day, and is never called overdue."""
    for today, text in (
        ("2026-07-01", "in 62 days"),
        ("2026-09-01", "today"),
        ("2026-09-02", "1 day ago"),
    ):
        context = browser.new_context()
        page = context.new_page()
        page.clock.set_fixed_time(f"{today}T12:00:00Z")
        page.goto(f"{site[1]}index.html")
        assert page.locator(".row .left").all_inner_texts() == [text]
        context.close()
    assert NOW.isoformat() < "2026-09-01"
