"""The report in a real browser: what loads, sorts, shows, prints; with and without JavaScript, light and dark."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from hw_targets.rules import check  # noqa: E402
from hw_targets.rules.capacity import placed  # noqa: E402
from hw_targets.target import load_target  # noqa: E402
from toolchain.data import Dataset, Truth  # noqa: E402, Truth
from toolchain.evaluate import scoring  # noqa: E402
from toolchain.netlist import Provenance, Score, StageScores  # noqa: E402
from toolchain.report import compare_html, measure, run_baseline, to_html  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)

#: WCAG contrast of every visible text against the first opaque background behind it.
CONTRAST = """
const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
const light = (c) => { const v = c.map((x) => linear(x / 255));
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (text) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data]; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
  if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
const bad = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.checkVisibility()) continue;
  if (["SCRIPT", "STYLE", "title"].includes(e.tagName)) continue;
  const inSvg = e.namespaceURI.endsWith("svg");
  const style = getComputedStyle(e);
  const a = light(rgba(inSvg ? style.fill : style.color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) bad.push([walker.currentNode.data.trim().slice(0, 40), Math.round(ratio * 100) / 100]);
}
return bad;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, make_netlist):
    """A report and a comparison, as files."""
    folder = tmp_path_factory.mktemp("pages")
    netlist, other = make_netlist("shortcut"), make_netlist("shortcut", phi=1)
    rng = np.random.default_rng(0)
    data = Dataset("pictures.npz", rng.normal(0, 0.8, (8, *netlist.input.shape)), Truth(rng.integers(0, 4, 8)))
    target = load_target("loihi2")
    first = measure(netlist, data, name="shortcut", check=check(netlist, target), placement=placed(netlist, target)[0])
    scores = StageScores(
        "pictures.npz", "0" * 64, 8, *(Score("accuracy", share, samples=8) for share in (0.5, 0.5, 0.25))
    )
    found = [
        run_baseline(other, data, name=f"{how}.h5", scored=scoring(other, data), score=score, reported=first.energy)
        for how, score in (("reaches", 0.0), ("never", 1.1))
    ]
    first = replace(first, netlist=replace(netlist, provenance=Provenance(evaluation=scores)), baselines=tuple(found))
    (folder / "report.html").write_text(to_html(first, command="adafire report shortcut.h5"))
    (folder / "pair.html").write_text(compare_html([first, measure(other, data, name="binary")]))
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@contextmanager
def opened(browser, path, *, width=1280, scheme="light", scripts=True) -> Iterator[webdriver.Chrome]:
    command = browser.execute_cdp_cmd
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    command("Emulation.setDeviceMetricsOverride", metrics)
    features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    command("Emulation.setEmulatedMedia", {"features": [{"name": n, "value": v} for n, v in features.items()]})
    command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(f"file://{path}")
    try:
        yield browser
    finally:
        command("Emulation.setScriptExecutionDisabled", {"value": False})
        command("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
def test_it_loads_without_errors_and_without_the_network(browser, pages, name):
    with opened(browser, pages / name):
        asked = []
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        assert {address.split(":")[0] for address in asked} <= {"file", "data"}
        assert [a for a in asked if a.startswith("file")] == [f"file://{pages / name}"]
        assert browser.get_log("browser") == []


def column(browser, number: int) -> list[str]:
    cells = browser.find_elements(By.CSS_SELECTOR, f"#layer-table tbody tr > :nth-child({number})")
    return [cell.get_attribute("data-value") for cell in cells]


def test_the_table_sorts_by_click_and_by_keyboard(browser, pages):
    with opened(browser, pages / "report.html"):
        headings = browser.find_elements(By.CSS_SELECTOR, "#layer-table thead th")
        names = [h.text.replace("↕", "").strip() for h in headings]
        number = names.index("SOPs") + 1
        button = headings[number - 1].find_element(By.TAG_NAME, "button")
        original = column(browser, 1)
        button.click()
        values = [float(v) for v in column(browser, number)]
        assert values == sorted(values, reverse=True)
        assert headings[number - 1].get_attribute("aria-sort") == "descending"
        button.send_keys(Keys.ENTER)
        values = [float(v) for v in column(browser, number)]
        assert values == sorted(values)
        button.send_keys(Keys.SPACE)
        assert column(browser, 1) == original
        assert headings[number - 1].get_attribute("aria-sort") is None
        headings[0].find_element(By.TAG_NAME, "button").click()
        assert column(browser, 1) == sorted(original)


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
def test_charts_and_pictures_show(browser, pages, name):
    with opened(browser, pages / name):
        for svg in browser.find_elements(By.CSS_SELECTOR, "figure.chart svg, svg.network, svg.cores"):
            assert svg.size["width"] > 20
            assert svg.size["height"] > 15
            assert svg.get_attribute("aria-label")
        loaded = browser.execute_script("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        assert loaded
        assert browser.execute_script("return document.querySelectorAll('.mark > title').length") > 5


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
@pytest.mark.parametrize("width", [340, 390, 800, 1280, 1920])
def test_no_width_overflows(browser, pages, name, width):
    with opened(browser, pages / name, width=width):
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, pages, name, scheme):
    with opened(browser, pages / name, scheme=scheme):
        browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
        assert browser.execute_script(CONTRAST) == []
        page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        bright = sum(int(v) for v in page.removeprefix("rgb(").removesuffix(")").split(","))
        assert (bright < 120) == (scheme == "dark")


def test_the_theme_button_turns_light_to_dark_and_back(browser, pages):
    with opened(browser, pages / "report.html"):
        colour = "return getComputedStyle(document.body).backgroundColor"
        before = browser.execute_script(colour)
        browser.find_element(By.ID, "theme").click()
        assert browser.execute_script(colour) != before
        browser.find_element(By.ID, "theme").click()
        assert browser.execute_script(colour) == before


def test_a_square_of_the_network_opens_its_details(browser, pages):
    with opened(browser, pages / "report.html"):
        last = browser.find_elements(By.CSS_SELECTOR, ".details-grid details")[-1]
        browser.execute_script("arguments[0].open = false", last)
        node = browser.find_element(By.CSS_SELECTOR, f'.network a[href="#{last.get_attribute("id")}"]')
        browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", node)
        assert browser.execute_async_script("const [d, done] = arguments; setTimeout(() => done(d.open), 200)", last)


def test_it_reads_without_javascript(browser, pages):
    with opened(browser, pages / "report.html", scripts=False):
        assert not browser.find_element(By.ID, "theme").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "#layer-table tbody tr").is_displayed()
        assert all(s.is_displayed() for s in browser.find_elements(By.CSS_SELECTOR, "figure.chart svg"))
        assert not browser.find_elements(By.CSS_SELECTOR, "#layer-table thead button")
        closed = browser.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary")
        closed[0].click()
        assert len(browser.find_elements(By.CSS_SELECTOR, "details:not([open])")) == len(closed) - 1


@pytest.mark.parametrize("name", ["report.html", "pair.html"])
def test_the_basics_of_accessibility(browser, pages, name):
    with opened(browser, pages / name):
        script = browser.execute_script
        assert script("return document.documentElement.lang") == "en"
        levels = script("return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))")
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        assert script("return [...document.images].every((i) => i.alt.length > 5)")
        nameless = "(e) => !e.hidden && !e.textContent.trim() && !e.ariaLabel"
        assert script(f"return [...document.querySelectorAll('a, button')].filter({nameless}).length") == 0
        assert script("return [...document.querySelectorAll('th')].every((t) => t.scope)")
        assert script("return document.querySelectorAll('main, nav[aria-label], header').length") == 3
        ids = script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        scrolling = "return [...document.querySelectorAll('.scroll')].every((s) => s.tabIndex === 0 && s.ariaLabel)"
        assert script(scrolling)
        browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.text == "Skip to the report"


def test_it_prints(browser, pages):
    with opened(browser, pages / "report.html", scheme="dark"):
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        pdf = base64.b64decode(printed["data"])
        assert pdf.startswith(b"%PDF")
        assert 2 <= pdf.count(b"/Type /Page\n") <= 12
