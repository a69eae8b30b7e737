"""The size of a published page, and the time to its first paint in headless Chromium.

Run: python tests/benchmarks/page.py [MODELS]

An empty page is loaded beside it, so that the browser's own share shows. Printed are medians.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from catalog_sync.site.write import publish
from published import contents, many_records, source

ROUNDS = 5
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def first_paint(browser: Browser, file: Path) -> float:
    """Return the milliseconds to the first paint of a new page."""
    page = browser.new_page()
    page.goto(file.as_uri())
    page.wait_for_function(PAINT)
    milliseconds = page.evaluate(PAINT)
    page.close()
    return float(milliseconds)


def main(models: int) -> None:
    """Publish the models and a page without any, load them in turn, and print the figures."""
    chromium = shutil.which("chromium") or sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        files = {}
        for name, number in (("none", 0), (f"{models:,} models", models)):
            content = contents(many_records(number), sources=[source()])
            publish(Path(directory, name), content.content, content.events)
            files[name] = Path(directory, name, "index.html")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paints: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(ROUNDS):
            for name, file in files.items():
                paints[name].append(first_paint(browser, file))
        browser.close()
        for name, file in files.items():
            size = file.stat().st_size / 1000
            print(f"{name}: {size:.0f} KB, first paint {statistics.median(paints[name]):.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
