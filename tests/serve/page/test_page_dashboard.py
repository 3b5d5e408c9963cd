"""The page with the figures of all answers, in a browser, of a real server with a log."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opened_page import Opened, new_window

from linnet.monitor.entry import Entry
from linnet.respond.prices import trillionths
from linnet.serve import Catalog, ServeConfig, Served, Server
from linnet.serve.keys import KeyLimits, add_key

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")
NAME = "<img src=x onerror=alert(1)>"


def entries() -> Iterator[Entry]:
    """Twenty days, the last ones with other questions."""
    now = time.time()
    for n in range(400):
        away = n % 10 == 0
        yield Entry(
            at=now - (400 - n) * 4000, id=f"{n}", key="till" if n % 3 else "", asked="notes",
            model=NAME if away else "notes", place="elsewhere" if away else "here",
            prompt=100, written=20, cost=trillionths(0.02) if away else 0,
            would_cost=trillionths(0.03), seconds=1 + n % 7 / 5, first_seconds=0.4,
            retrieval_seconds=0.05, queue_seconds=0.01,
            state="refused" if n % 8 == 3 else "failed" if n % 50 == 7 else "answered",
            probability=0.9, in_scope=0.9 + n % 11 / 200 if n < 320 else 0.1 + n % 11 / 200,
            grounded=1.0, decided_by="attempt", reason="sure enough", features={"words": n % 13},
            failures=("timeout",) if n % 50 == 7 else (), good=n % 20 > 0 if n % 5 == 0 else None,
            question=f"secret question {n}", answer="no",
        )  # fmt: skip


@contextlib.contextmanager
def serving(file: Path, **settings: Any) -> Iterator[SimpleNamespace]:
    import threading

    from linnet.answers import Assistant
    from linnet.retrieval import PassagesInMemory

    models = [Served("notes", assistant=Assistant(PassagesInMemory([])))]
    server = Server(Catalog(models), ServeConfig(port=0, log="off", monitor=file, **settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.ready.wait(20)
    try:
        yield SimpleNamespace(url=f"{server.url}/", log=server.service.log)
    finally:
        server.stop()
        thread.join(20)


class Dashboard(Opened):
    """The page, with what it must not have done."""

    def open(self, wait: bool = True) -> None:
        self.page.goto(f"{self.server.url}dashboard/#30d")
        self.page.wait_for_selector("[data-ready]")

    def text(self, selector: str) -> str:
        found: str = self.page.inner_text(selector)
        return found

    def overflows(self) -> bool:
        found: bool = self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with serving(tmp_path_factory.mktemp("log") / "calls.sqlite", monitor_contents=True) as server:
        for entry in entries():
            server.log.add(entry)
        assert server.log.flush()
        yield server


@pytest.fixture
def dashboard(window: Any, filled: Any) -> Iterator[Dashboard]:
    made = Dashboard(window, filled)
    yield made
    made.leave()


def test_a_manager_reads_sentences_then_figures(dashboard: Dashboard) -> None:
    said = dashboard.text(".sentences")
    assert "there were 400 questions" in said
    assert "models beyond this machine" in said
    assert "Questions differ much from the first ones since about" in said
    tiles = dashboard.text(".tiles")
    assert "400" in tiles
    titles = dashboard.page.eval_on_selector_all("h2", "all => all.map(one => one.textContent)")
    for title in ("Questions each day", "Cost each day", "Where the time went", "By model"):
        assert title in titles
    assert "Are questions to notes like the first ones?" in titles
    assert NAME in dashboard.text("main")  # as text
    assert "secret" not in dashboard.page.content()


def test_a_chart_is_read_with_the_keyboard_and_as_a_table(dashboard: Dashboard) -> None:
    page = dashboard.page
    chart = page.locator(".panel", has_text="Questions each day")
    chart.locator(".chart").focus()
    page.keyboard.press("End")
    last = chart.locator(".readout").inner_text()
    assert "answered" in last
    assert "refused" in last
    page.keyboard.press("ArrowLeft")
    assert chart.locator(".readout").inner_text() not in ("", last)
    page.keyboard.press("Escape")
    assert chart.locator(".readout").inner_text() == ""
    chart.locator("summary").click()
    rows = chart.locator("tbody tr")
    assert rows.count() >= 30  # days without a question are among them
    answered = rows.locator("td:nth-child(2)").all_inner_texts()
    assert sum(map(int, answered)) == sum(entry.state == "answered" for entry in entries())


def test_periods_are_chosen_with_the_keyboard_and_kept_in_the_address(dashboard: Dashboard) -> None:
    page = dashboard.page
    page.focus("input[value='30d']")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("[data-ready='7d']")
    assert page.url.endswith("#7d")
    assert "there were 151 questions" in dashboard.text(".sentences")
    page.goto("about:blank")
    page.goto(f"{dashboard.server.url}dashboard/#24h")
    page.wait_for_selector("[data-ready='24h']")
    assert "Questions each hour" in dashboard.text("main")


def test_questions_are_shown_where_they_are_kept_and_somebody_wants_to(
    dashboard: Dashboard,
) -> None:
    dashboard.page.get_by_role("button", name="Show them").click()
    dashboard.page.wait_for_selector(".shown li")
    shown = dashboard.page.locator(".shown li").all_inner_texts()
    assert len(shown) == 20
    assert all("secret question" in each for each in shown)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read_on_a_phone_too(chromium: Any, filled: Any, theme: str) -> None:
    page = new_window(
        chromium, viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True
    )
    opened = Dashboard(page, filled)
    assert not opened.overflows()
    page.emulate_media(color_scheme=theme)
    assert page.evaluate(CONTRAST) == []
    page.click("#theme")  # the other one, chosen by hand
    assert page.evaluate(CONTRAST) == []
    unnamed = "one => !one.innerText && !one.ariaLabel && !one.labels?.length"
    assert page.eval_on_selector_all("button, input", f"all => all.filter({unnamed}).length") == 0
    opened.leave()
    page.context.close()


def test_a_key_is_asked_for_and_a_wrong_one_refused(chromium: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    plain = add_key(file, "plain")
    made = add_key(file, "made", KeyLimits(monitoring=True))
    page = new_window(chromium)
    with serving(tmp_path / "calls.sqlite", keys=file) as server:
        opened = Dashboard(page, server)
        assert page.is_visible("#door")
        for key, said in ((plain, "made with --monitoring"), ("linnet-wrong", "key")):
            page.fill("#key", key)
            page.press("#key", "Enter")
            page.wait_for_selector("#trouble:not([hidden])")
            assert said in opened.text("#trouble")
        page.fill("#key", made)
        page.press("#key", "Enter")
        page.wait_for_selector(".sentences")
        assert opened.text(".sentences").endswith("Nothing was asked in this period.")
        assert not page.is_visible("#door")
        opened.leave()
    page.context.close()
