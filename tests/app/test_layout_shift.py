"""Nothing on a page moves while it loads, in headless Chromium.

https://web.dev/articles/cls: shifts within a second of one another, five at most, add up.
"""

from __future__ import annotations

import pytest

from tests.app.browser import Tab

pytestmark = pytest.mark.browser

#: What is called good.
MOST = 0.1
WATCH = """
window.shifts = []
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue
    const what = entry.sources.map(({ node, previousRect: a, currentRect: b }) => {
      const element = node && (node.nodeType === 1 ? node : node.parentElement)
      const name = element && (element.dataset.testid || element.className)
      return `${name} from ${[a.x, a.y]} to ${[b.x, b.y]}`
    })
    window.shifts.push({ at: entry.startTime / 1000, score: entry.value, what })
  }
}).observe({ type: "layout-shift", buffered: true })
"""


def layout_shift(shifts):
    """The largest sum of a session of shifts, and what moved in it."""
    sessions = []
    for shift in shifts:
        of_last = sessions[-1] if sessions else []
        if of_last and shift["at"] - of_last[-1]["at"] < 1 and shift["at"] - of_last[0]["at"] < 5:
            of_last.append(shift)
        else:
            sessions.append([shift])
    return max(((sum(s["score"] for s in each), each) for each in sessions), default=(0.0, []),
               key=lambda pair: pair[0])  # fmt: skip


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/start",
        "/start?lecture=1",
        "/sweep",
        "/compare",
        "/halting_lab",
        "/flops",
        "/data_set",
        "/photographs",
        "/runs",
        "/check",
    ],
)
def test_nothing_moves(browser, server, path, size):
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    for visit in ("cold", "warm"):
        tab = Tab(context.new_page(), server)
        tab.page.add_init_script(WATCH)
        tab.open(path)
        tab.page.wait_for_timeout(1000)
        score, moved = layout_shift(tab.page.evaluate("window.shifts"))
        assert score < MOST, f"{visit}: {moved}"
        assert tab.errors == []
        tab.page.close()
    context.close()
