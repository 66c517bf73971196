"""The live page in Chromium: what stands where, how wide, and in which colours."""

from __future__ import annotations

import itertools

import pytest

from keepserve.telemetry.counters import IDLE_BOUNDS
from tests.admin import documents
from tests.admin.browser import Browser
from tests.admin.page_host import KINDS, SIZES, hosting, opened


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_both_timeouts_stand_where_their_seconds_are(browser: Browser, width: int, height: int) -> None:
    with hosting(documents.busy()) as host, browser.tab(width, height) as tab:
        opened(tab, host)
        place = IDLE_BOUNDS.index(61)
        bar = tab.read(
            f"(() => {{ const bar = document.querySelector('#idle-chart rect.peer[data-bucket=\"{place}\"]');"
            "return ['x', 'width'].map(name => Number(bar.getAttribute(name))); })()"
        )
        begin, step = bar[0] - 1, bar[1] + 2  # there is a pixel of room on either side
        # 60 s lies five sixths into the bucket from 55 to 61 s, 80 s four fifths into that from 76 to 81 s.
        expected = {
            "line-balancer": (60, begin + step * 5 / 6),
            "line-ours": (80, begin + step * (IDLE_BOUNDS.index(81) - place + 4 / 5)),
        }
        for identifier, (seconds, x) in expected.items():
            line = tab.read(f"document.getElementById('{identifier}').getAttribute('x1')")
            assert float(line) == pytest.approx(x, abs=0.3), identifier
            assert tab.value(identifier) == seconds
        chart = tab.read("document.getElementById('idle-chart').getBoundingClientRect().toJSON()")
        drawn = tab.read("document.getElementById('line-ours').getBoundingClientRect().toJSON()")
        assert drawn["x"] == pytest.approx(chart["x"] + expected["line-ours"][1], abs=1.5)
        assert tab.value("inferred-1") == 60.07


def test_closes_stand_in_their_buckets_as_high_as_they_are_many(browser: Browser) -> None:
    document = documents.early()
    document["idle"]["by_peer"][IDLE_BOUNDS.index(81)] = 3_102
    with hosting(document) as host, browser.tab() as tab:
        opened(tab, host)
        bars = tab.read(
            "[...document.querySelectorAll('#idle-chart rect[data-bucket]')].map(bar => [bar.getAttribute('class'),"
            "...['data-bucket', 'data-value', 'y', 'height'].map(name => Number(bar.getAttribute(name)))])"
        )
        counts = {(kind, bucket): count for kind, bucket, count, _, _ in bars}
        for kind, name in (("peer", "by_peer"), ("ours", "by_us")):
            assert {bucket: count for (found, bucket), count in counts.items() if found == kind} == {
                bucket: count for bucket, count in enumerate(document["idle"][name]) if count
            }
        places = {(kind, bucket): (y, height) for kind, bucket, _, y, height in bars}
        peer, ours = (places[kind, IDLE_BOUNDS.index(81)] for kind in ("peer", "ours"))
        assert ours[1] == pytest.approx(peer[1] * 2, abs=0.5)  # twice as many
        assert ours[0] + ours[1] == pytest.approx(peer[0], abs=0.5)  # one on the other


def test_charts_say_their_figures_in_words(browser: Browser) -> None:
    with hosting(documents.early()) as host, browser.tab() as tab:
        opened(tab, host)
        label = tab.read("document.getElementById('idle-chart').getAttribute('aria-label')")
        assert "The balancer's timeout is 60 s, ours is 80 s. Observed: 350 s." in label
        assert "Closed by keepserve: 76 s to 81 s: 6\u202f204; 81 s to 90 s: 310." in label
        unnamed = tab.read(
            "[...document.querySelectorAll('svg')].filter(svg => svg.checkVisibility() && !svg.ariaHidden"
            "&& !(svg.getAttribute('role') === 'img' && svg.getAttribute('aria-label'))).map(svg => svg.id)"
        )
        assert unnamed == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height"), [*SIZES, (768, 1024), (320, 640)])
def test_nothing_is_wider_than_the_window(browser: Browser, kind: str, width: int, height: int) -> None:
    with hosting(KINDS[kind]()) as host, browser.tab(width, height) as tab:
        opened(tab, host)
        assert tab.read("[document.documentElement.scrollWidth, innerWidth]") == [width, width]


@pytest.mark.parametrize("kind", ["fresh", "busy"])
def test_the_main_things_are_seen_without_scrolling(browser: Browser, kind: str) -> None:
    with hosting(KINDS[kind]()) as host, browser.tab() as tab:
        opened(tab, host)
        bottom = tab.read("document.querySelector('.grid').getBoundingClientRect().bottom")
        assert bottom <= 800


CONTRASTS = """(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("script, style, noscript")) continue;
    const style = getComputedStyle(element);
    const ink = channels(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.id || element.textContent]);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["busy", "early", "draining"])
def test_all_text_stands_out_enough(browser: Browser, kind: str, scheme: str) -> None:
    with hosting(KINDS[kind]()) as host, browser.tab(scheme=scheme) as tab:
        opened(tab, host)
        found = tab.read(CONTRASTS)
        assert len(found) > 100
        assert [one for one in found if one[0] < 4.5] == []


def test_dark_is_dark_and_light_is_light(browser: Browser) -> None:
    ground = {}
    with hosting(documents.busy()) as host:
        for scheme in ("light", "dark"):
            with browser.tab(scheme=scheme) as tab:
                opened(tab, host)
                ground[scheme] = tab.read(
                    "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
                )
    assert min(ground["light"]) > 220
    assert max(ground["dark"]) < 40


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_names_beside_lines_do_not_cover_each_other(browser: Browser, kind: str, width: int, height: int) -> None:
    with hosting(KINDS[kind]()) as host, browser.tab(width, height) as tab:
        opened(tab, host)
        boxes = tab.read(
            "['#idle-chart', '#idle-chart text'].map(all => [...document.querySelectorAll(all)].map(one => {"
            "const { left, top, right, bottom } = one.getBoundingClientRect(); return [left, top, right, bottom]; }))"
        )
        (left, top, right, bottom), names = boxes[0][0], boxes[1]
        assert len(names) > 5
        for name in names:
            assert left - 1 <= name[0] < name[2] <= right + 1
            assert top - 2 <= name[1] < name[3] <= bottom + 2
        for one, other in itertools.combinations(names, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)
