"""Web pages: main text without navigation, in the form in which the page shows it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linnet.data.config import DataConfig
from linnet.data.document import Extracted
from linnet.data.extract import text
from linnet.data.extract.context import Context
from linnet.data.markup.html import all_text, html_text

PROSE = (
    "The committee met on Tuesday and agreed on the budget for the coming year, after a long "
    "discussion of what the harbour costs and who is to pay for it."
)
MORE = (
    "In the afternoon the members visited the lighthouse, which had been painted in the spring "
    "by volunteers, and thanked them with a dinner at the old customs house."
)
PAGE = f"""<html><head><title>Minutes</title></head><body>
<div role="navigation"><ul><li><a href="/">Home</a></li><li><a href="/b">Our products and other
services</a></li></ul></div>
<nav><a href="/c">All the minutes of the committee</a></nav>
<main><h1>Minutes of the meeting</h1><p>{PROSE}</p>
<h2>Commands<a class="headerlink" href="#commands">¶</a></h2><p>{MORE}</p>
<pre>if tide &gt; 3:
    close(gate)   # at once</pre>
<p>{PROSE.replace("Tuesday", "Wednesday")} These are the levels that were measured there:</p>
<table><tr><th><p>Day</p></th><th><p>Level of the water</p></th></tr>
<tr><td><p>Monday</p></td><td><div>2 m at the gate of the harbour</div></td></tr></table>
<p>{MORE.replace("afternoon", "evening")}</p></main>
<footer>Copyright by the makers of this page. All rights reserved.</footer></body></html>"""


def test_main_text_keeps_code_and_tables_and_leaves_navigation_out() -> None:
    found = html_text(PAGE)
    assert "if tide > 3:\n    close(gate)   # at once" in found
    assert "Day | Level of the water\nMonday | 2 m at the gate of the harbour" in found
    assert "\n\nCommands\n\nIn the afternoon" in found
    for left_out in ("Home", "products", "All the minutes", "Copyright", "¶"):
        assert left_out not in found


def test_the_setting_full_keeps_all_text_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE, encoding="utf-8")

    def read(html: str) -> str:
        config = DataConfig(html=html)  # type: ignore[arg-type]
        (found,) = text.read_html(path, Context.of_file(config, "page.html", tmp_path))
        assert isinstance(found, Extracted)
        return found.text

    assert "Copyright" in read("full")
    assert "Copyright" not in read("main")


def test_a_page_without_main_text_is_kept_whole() -> None:
    rows = "".join(f"<tr><td>Lamp {n}</td><td>{n}.50</td></tr>" for n in range(30))
    found = html_text(f"<html><body><table>{rows}</table></body></html>")
    assert "Lamp 7 | 7.50\nLamp 8 | 8.50" in found


def test_a_layout_table_is_not_a_row() -> None:
    page = f"<table><tr><td><p>{PROSE}</p><p>{MORE}</p></td><td><p>Note</p></td></tr></table>"
    assert all_text(page) == f"{PROSE}\n\n{MORE}\n\nNote"


@pytest.mark.parametrize(
    "page", ["<div>" * 20000 + "deep", "<p>a</p>" * 20000, "<table><tr><td>" * 5000]
)
def test_a_page_made_to_take_long_does_not(page: str) -> None:
    started = time.perf_counter()
    html_text(page)
    assert time.perf_counter() - started < 20


def test_documentation_reads_as_it_is_shown(test_data: Path) -> None:
    page = (test_data / "documents" / "example-steelJIS-datasheet.html").read_text("utf-8")
    assert "C | Si | Mn | P | S | Cr | Mo\n0.39 - 0.46 | 0.2 - 0.35" in html_text(page)
