"""The page in a real browser: no complaint, no request, a table that sorts, filters and opens, no overflow."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from irm_study.comparison import load_sides, write_comparison
from irm_study.report import write_report
from tests.synthetic import KINDS, stored, study_record, study_spec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on PATH: the page was not opened in a browser"
)
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: the page was not opened")

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    # Its driver is spoken to on loopback, past any proxy.
    os.environ["no_proxy"] = ",".join(filter(None, (os.environ.get("no_proxy"), "localhost", "127.0.0.1")))
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "disable-dev-shm-usage",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = write_report(KINDS[kind](tmp_path_factory.mktemp("study"))).as_uri()
        return made[kind]

    return of


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    given = []
    for name in ("<script>alert('x')</script> $x$", "vrex", "a name as long as names of studies get, and longer"):
        spec = study_spec(name)
        given.append(str(stored(study_record(folder / str(len(given)), trials=3, spec=spec))))
    return write_comparison(load_sides(given), given, folder / "out").as_uri()


def look(browser, url, width=1280, scheme="light", media=""):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(url)


def column(browser, index):
    script = "return [...document.querySelectorAll('tr.trial')].map(row => row.cells[arguments[0]].dataset.sort)"
    return browser.execute_script(script, index)


def assert_no_complaint_or_request(browser, url):
    browser.get_log("browser"), browser.get_log("performance")
    look(browser, url)
    assert browser.get_log("browser") == []
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    # The browser's own start page asks for its parts; only what our page asks for counts.
    asked = [each["request"]["url"] for each in sent if not each["documentURL"].startswith("chrome")]
    assert url in asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("kind", ["plain", "empty", "hostile names", "all diverged", "unfinished"])
def test_the_page_opens_without_complaint_or_request(browser, pages, kind):
    assert_no_complaint_or_request(browser, pages(kind))


def test_a_comparison_opens_without_complaint_or_request(browser, comparison_page):
    assert_no_complaint_or_request(browser, comparison_page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_overflows_in_a_comparison(browser, comparison_page, width, scheme):
    look(browser, comparison_page, width, scheme)
    assert browser.execute_script(OVERFLOW) <= 0


def test_a_comparison_s_configurations_are_copied_as_toml(browser, comparison_page):
    look(browser, comparison_page)
    browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    browser.execute_script("document.querySelector('[data-copy=\"1\"]').click()")
    assert browser.execute_script("return window.copied").startswith('name = "vrex"')


@pytest.mark.parametrize("kind", ["plain", "hostile names", "empty"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_overflows(browser, pages, kind, scheme, width):
    look(browser, pages(kind), width, scheme)
    browser.execute_script("document.querySelector('button.open')?.click()")
    assert browser.execute_script(OVERFLOW) <= 0


def test_the_first_screen_holds_verdict_rate_modes_evidence_and_digits(browser, pages):
    look(browser, pages("plain"))
    for selector in ("#verdict", "#success-interval", ".counts", "#evidence", ".digits-card"):
        bottom = browser.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect().bottom", selector
        )
        assert bottom <= 800, selector


def test_ink_and_paper_follow_the_colour_scheme(browser, pages):
    script = "return getComputedStyle(document.querySelector('#figure-importance svg text')).fill"
    inks = []
    for scheme in ("light", "dark"):
        look(browser, pages("plain"), scheme=scheme)
        inks.append(browser.execute_script(script))
    assert inks == ["rgb(31, 35, 40)", "rgb(232, 235, 239)"]


def test_the_table_sorts_by_a_column_both_ways_and_says_so(browser, pages):
    look(browser, pages("plain"))
    header = browser.find_elements("css selector", "#table > thead th")[2]
    button = header.find_element("tag name", "button")
    for expected, reverse in (("descending", True), ("ascending", False)):
        browser.execute_script("arguments[0].click()", button)
        values = [float(text) for text in column(browser, 2)]
        assert values == sorted(values, reverse=reverse)
        assert header.get_attribute("aria-sort") == expected


def test_words_sort_as_words_and_empty_cells_stay_last(browser, pages):
    look(browser, pages("unfinished"))
    buttons = browser.find_elements("css selector", "#table > thead th button")
    for index in (2, 8):
        for _ in range(2):
            browser.execute_script("arguments[0].click()", buttons[index])
            values = column(browser, index)
            filled = [text for text in values if text]
            assert values == filled + [""] * (len(values) - len(filled))


def test_the_filter_shows_trials_with_a_run_of_that_mode(browser, pages):
    look(browser, pages("plain"))
    rows = browser.find_elements("css selector", "tr.trial")
    button = browser.find_element("css selector", '.filters button[data-mode="collapsed"]')
    browser.execute_script("arguments[0].click()", button)
    for row in rows:
        assert row.is_displayed() == ("collapsed" in row.get_attribute("data-modes").split())
    shown = sum(row.is_displayed() for row in rows)
    assert 0 < shown < len(rows)
    assert browser.find_element("id", "shown").text == f"{shown} of {len(rows)} trials"
    browser.execute_script("arguments[0].click()", button)
    assert all(row.is_displayed() for row in rows)


def test_a_row_opens_by_keyboard_with_seeds_curves_and_evidence(browser, pages):
    look(browser, pages("plain"))
    button = browser.find_element("css selector", "button.open")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys("\n")
    detail = browser.find_element("css selector", "tr.detail")
    assert button.get_attribute("aria-expanded") == "true"
    assert len(detail.find_elements("css selector", ".seeds tbody tr")) == 12
    assert len(detail.find_elements("css selector", "svg.spark")) == 12
    assert "test accuracy" in detail.text
    button.send_keys("\n")
    assert browser.find_elements("css selector", "tr.detail") == []


def test_evidence_with_markup_is_shown_as_text(browser, pages):
    look(browser, pages("hostile names"))
    browser.execute_script("document.querySelector('button.open').click()")
    assert "</script><img src=x onerror=alert(2)>" in browser.find_element("css selector", "tr.detail").text
    assert browser.find_elements("tag name", "img") == []


def test_a_configuration_is_copied_as_toml(browser, pages):
    look(browser, pages("plain"))
    browser.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    browser.execute_script("document.querySelector('[data-copy]').click()")
    copied = browser.execute_script("return window.copied")
    assert copied.startswith('name = "synthetic-trial-') and "penalty_weight = " in copied.split("[run]")[1]


def test_print_keeps_figures_whole(browser, pages):
    look(browser, pages("plain"), media="print")
    breaks = browser.execute_script(
        "return [...document.querySelectorAll('figure')].map(each => getComputedStyle(each).breakInside)"
    )
    assert set(breaks) == {"avoid"}
