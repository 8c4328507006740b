"""The admin page in headless Chromium: what it shows, that it fits, and that it complains about nothing."""

import json

import pytest
from lib import browser

SIZES = [(360, "light"), (360, "dark"), (1440, "light"), (1440, "dark")]


@pytest.fixture
def tab(chromium, vdt):
    """`tab(width, scheme, cache)` opens the page; with a cache report, `/api/v1/cache` answers that."""
    opened = []

    def open_tab(width=1440, scheme="light", cache=None):
        tab = browser.Tab(chromium, width, scheme)
        opened.append(tab)
        if cache is not None:
            tab.page.route("**/api/v1/cache", lambda route: route.fulfill(json=cache))
        tab.page.goto(f"http://{vdt.ready['admin']}/")
        tab.page.wait_for_selector("article.card")
        return tab

    yield open_tab
    for tab in opened:
        tab.context.close()


def well(tab):
    assert tab.complaints == []
    assert tab.overflow() == 0


def only_own_requests(tab, vdt):
    foreign = [url for url in tab.requests if not url.startswith(f"http://{vdt.ready['admin']}/")]
    assert foreign == []


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_tables_and_ropes(tab, vdt, width, scheme):
    open_tab = tab(width, scheme)
    page = open_tab.page
    page.wait_for_selector("svg.rope")
    card = page.locator("article.card", has_text="manuals").first
    assert card.get_by_role("heading").inner_text() == "main.default.manuals"
    facts = dict(zip(card.locator("dt").all_inner_texts(), card.locator("dd").all_inner_texts(), strict=True))
    assert facts["Artifacts"] == str(vdt.tables()[0]["artifacts"])
    assert facts["Version"] == str(vdt.tables()[0]["version"])
    assert facts["Lag"].endswith(("s", "min"))
    assert "SourcesReady Listed" in card.locator(".conditions").inner_text()
    rope = card.locator("svg.rope").first
    assert rope.locator("rect.reference").count() >= 61
    assert rope.locator("rect.literal").count() > 1
    assert rope.locator("rect.zeros").count() >= 1
    assert "not copied" in card.locator(".share").first.inner_text()
    well(open_tab)
    only_own_requests(open_tab, vdt)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_cache(tab, cache, width, scheme):
    open_tab = tab(width, scheme, cache)
    page = open_tab.page
    page.wait_for_selector(".meter")
    text = page.locator("#cache").inner_text()
    for shown in ("913 MiB", "of 1.0 GiB", "CacheSmaller", "% hit", "Read most", "connection refused", "away", "metadata"):
        assert shown in text, shown
    disk = page.get_by_role("meter", name="Disk tier")
    assert disk.get_attribute("aria-valuenow") == "43"
    assert page.locator(".chart svg").count() == 2
    assert page.locator(".chart rect").count() > 100
    assert page.locator(".hottest li").count() == 12
    well(open_tab)


def test_without_a_cache(tab, vdt):
    open_tab = tab()
    has_cache = json.loads(vdt.admin("GET", "/api/v1/cache")[1]) is not None
    shown = "Memory" if has_cache else "This process has no cache."
    open_tab.page.locator("#cache-body", has_text=shown).wait_for()
    well(open_tab)


def test_an_api_of_another_version(tab):
    """Reports with nothing in them, and with more than is known, are drawn."""
    open_tab = tab(cache={"later": True})
    open_tab.page.locator("#cache-body", has_text="No artifact has been read yet").wait_for()
    well(open_tab)


def test_a_refresh_shows_what_is_new(tab, vdt):
    open_tab = tab()
    page = open_tab.page
    before = vdt.tables()[0]
    (vdt.folder / "new.pdf").write_bytes(b"%PDF new")
    page.get_by_role("button", name="Refresh main/default/manuals").click()
    page.locator("#notice", has_text="committed").wait_for()
    assert "1 new" in page.locator("#notice").inner_text()
    page.locator("dd", has_text=str(before["version"] + 1)).first.wait_for()
    assert vdt.tables()[0]["artifacts"] == before["artifacts"] + 1
    page.get_by_role("button", name="Refresh all").click()
    page.locator("#notice", has_text="unchanged").wait_for()
    well(open_tab)


def test_a_rope_is_read_with_the_keyboard(tab):
    open_tab = tab()
    rope = open_tab.page.locator("svg.rope").first
    rope.wait_for()
    readout = open_tab.page.locator(".readout").first
    whole = readout.inner_text()
    rope.focus()
    rope.press("ArrowRight")
    assert readout.inner_text().startswith("0 + ")
    rope.press("End")
    assert "made by vdt" in readout.inner_text()
    rope.press("Tab")
    assert readout.inner_text() == whole
    well(open_tab)


def test_everything_has_a_name(tab, cache):
    """Buttons, drawings and meters are told apart by those who cannot see them."""
    open_tab = tab(cache=cache)
    open_tab.page.wait_for_selector("svg.rope")
    nameless = open_tab.page.evaluate(
        """() => [...document.querySelectorAll('button, [role=img], [role=meter], a, summary')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    headings = open_tab.page.locator("h1, h2, h3").evaluate_all("all => all.map((e) => +e.tagName[1])")
    assert headings[0] == 1
    assert all(b - a <= 1 for a, b in zip(headings, headings[1:], strict=False)), headings


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const poor = [];
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility() || e.closest('noscript, button:disabled')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(paper(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([ratio.toFixed(2), n.textContent.trim().slice(0, 40)]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(tab, cache, scheme):
    """WCAG 2.2, 1.4.3: 4.5:1 for every text."""
    open_tab = tab(1440, scheme, cache)
    open_tab.page.wait_for_selector("svg.rope")
    assert open_tab.page.evaluate(CONTRAST) == []


def test_no_answer_is_said_and_tried_again(chromium, vdt):
    with browser.Tab(chromium, 1440, "light") as tab:
        tab.page.goto(f"http://{vdt.ready['admin']}/")
        tab.page.wait_for_selector("article.card")
        tab.page.route("**/api/**", lambda route: route.abort())
        tab.page.locator("#state", has_text="No answer").wait_for(timeout=15_000)
        assert tab.page.locator("article.card").count() >= 1, "what was known stays"
        tab.page.unroute("**/api/**")
        tab.page.locator("#state", has_text="Updated").wait_for(timeout=15_000)


def test_keys_and_messages_are_text(tab, cache):
    """What a bucket's owner writes into keys is shown, never run."""
    evil = "<img src=x onerror=document.title='owned'>"
    cache["hottest"][0]["key"] = evil
    cache["origin"]["lastError"]["message"] = evil
    open_tab = tab(cache=cache)
    open_tab.page.wait_for_selector(".hottest li")
    assert evil in open_tab.page.locator(".hottest").inner_text()
    assert open_tab.page.title() == "vdt"
    well(open_tab)
