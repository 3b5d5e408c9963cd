"""Web pages: main text without navigation, in the form in which the page shows it."""

from __future__ import annotations

import time
from collections import Counter
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


MANUAL = f"""<!DOCTYPE html><html><head><title>Pump</title></head><body>
<div class="navheader"><a href="a.html">Prev</a> <a href="c.html">Next</a></div>
<nav><a href="index.html">All chapters</a></nav>{{opened}}
<h1>Changing the filter</h1><p>{PROSE}</p>
<ol start="3"><li>Close the valve.</li><li>Open the lid.<ol type="a"><li>Slowly.</li></ol></li></ol>
<p>{MORE}</p><dl><dt>Bar</dt><dd>A unit of pressure.</dd></dl>
<details><summary>More</summary><p>The old model has a wooden lid.</p></details>
<div class="note warning"><p>Never open the lid.</p></div><aside><p>Built in 1953.</p></aside>
<div class="comment"><p>The seal wears out first.</p></div>
<figure><img src="a.png"><figcaption>The seat.</figcaption></figure>
<h2>Limits</h2><ul><li>At most 3 bar.</li><li>See <a href="b.html">the table</a>.</li></ul>
<p style="display: none">unseen</p><p>It costs <del>400</del> 300 euros.</p>
<footer><p>Call the desk.</p></footer>{{closed}}
<ul class="breadcrumbs"><li><a href="index.html">Manual</a></li>
<li><a href="i.html">Index</a></li></ul>
</body></html>"""


@pytest.mark.parametrize(
    "around", ["", "main", "article", 'section id="s1"', 'div class="content"']
)
def test_an_owners_page_loses_nothing_but_navigation(around: str) -> None:
    opened, closed = (f"<{around}>", f"</{around.split()[0]}>") if around else ("", "")
    changes = Counter[str]()
    found = html_text(MANUAL.format(opened=opened, closed=closed), changes)
    assert found == (
        f"Changing the filter\n\n{PROSE}\n\n3. Close the valve.\n4. Open the lid.\n  a. Slowly.\n\n"
        f"{MORE}\n\nBar\nA unit of pressure.\n\nMore\n\nThe old model has a wooden lid.\n\n"
        "Never open the lid.\n\nBuilt in 1953.\n\nThe seal wears out first.\n\nThe seat.\n\n"
        "Limits\n\n- At most 3 bar.\n- See the table.\n\nIt costs 300 euros.\n\nCall the desk."
    )
    assert changes == {
        "lines of navigation": 4, "hidden passages": 1, "struck-out passages": 1,
    }  # fmt: skip


def test_what_a_web_page_loses_is_counted() -> None:
    changes = Counter[str]()
    html_text(PAGE, changes)
    assert changes["lines of navigation"] == 3
    assert changes["lines beside the main text"] == 1


def test_lists_within_the_main_text_stay_and_what_stands_before_it_goes() -> None:
    below = "".join(f"<p>{text} {number}</p>" for number in range(4) for text in (PROSE, MORE))
    page = f"""<html><head><meta property="og:type" content="article"></head><body>
<div>Sign in</div><div>Subscribe to our letters today and never miss one of them</div>
<article><h1>Minutes</h1><p>{PROSE}</p><ul><li>bread</li><li>salt of the sea</li></ul>
<p>{MORE}</p>{below}</article></body></html>"""
    changes = Counter[str]()
    found = html_text(page, changes)
    assert found.startswith("Minutes\n\nThe committee")
    assert "\n\n- bread\n- salt of the sea\n\nIn the afternoon" in found
    assert changes == {"lines beside the main text": 2}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("at most 10<sup>5</sup> cells of x<sub>i</sub>", "at most 10⁵ cells of x_i"),
        ("10<sup>-6</sup> and e<sup>x+1</sup>", "10⁻⁶ and e^(x+1)"),
        ("H<sub>2</sub>O, Ca(OH)<sub>2</sub>, log<sub>10</sub>", "H₂O, Ca(OH)₂, log₁₀"),
        ("the 1<sup>st</sup> of Tesa<sup>TM</sup>", "the 1st of TesaTM"),
        ("by 45 percent<sup>3</sup> of it.<sup>12</sup>", "by 45 percent [3] of it. [12]"),
        ('a note<sup><a href="#n1">1</a></sup>', "a note [1]"),
        ("2<sup>1</sup>/<sub>2</sub> cups, <sup>1</sup>/<sub>4</sub>", "2 1/2 cups, 1/4"),
        ("<math><mfrac><mn>1</mn><mn>2</mn></mfrac></math> of it", "1/2 of it"),
        (
            "<math><msup><mi>x</mi><mn>2</mn></msup><mo>+</mo><msqrt><mi>y</mi></msqrt></math>",
            r"x^2+\sqrt{y}",
        ),
        (
            "<math><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>c</mi></mfrac></math>",
            r"\frac{a+1}{c}",
        ),
        ('<math alttext="\\frac{1}{2}"><mi>q</mi></math>', "\\frac{1}{2}"),
        (
            '<span class="katex"><span><math><semantics><mi>q</mi><annotation encoding='
            '"application/x-tex">\\hat q</annotation></semantics></math></span>'
            '<span class="katex-html">q^</span></span>.',
            "\\hat q.",
        ),
        ('<span class="MathJax">q</span><script type="math/tex">q_1</script>.', "q_1."),
    ],
)
def test_what_is_raised_lowered_or_a_formula_keeps_its_meaning(source: str, text: str) -> None:
    assert all_text(f"<p>{source}</p>") == text


def test_cells_keep_their_columns() -> None:
    page = (
        "<table><tr><th rowspan=2>Branch<th colspan=2>Hours<tr><th>Week<th>Sunday"
        "<tr><td rowspan=2>North<td>9-17<td>closed<tr><td>10-16<td>11<br>13"
        "<tr><td><td><td>none</table>"
    )
    assert all_text(page) == (
        "Branch | Hours\n | Week | Sunday\nNorth | 9-17 | closed\n | 10-16 | 11 13\n |  | none"
    )


def test_a_layout_table_is_not_a_row() -> None:
    page = f"<table><tr><td><p>{PROSE}</p><p>{MORE}</p></td><td><p>Note</p></td></tr></table>"
    assert all_text(page) == f"{PROSE}\n\n{MORE}\n\nNote"


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 20000 + "deep",
        "<p>a</p>" * 20000,
        "<div class=nav>" * 20000 + "a",
        "<sup>" * 20000 + "a",
        "<noscript><p>" * 20000 + "a",
        "<del hidden>" * 20000 + "a",
        "<math>" * 20000 + "a",
        "<table><tr><td rowspan=9999 colspan=9999>a" * 2000,
        "<table><tr><td>" * 5000,
    ],
)
def test_a_page_made_to_take_long_does_not(page: str) -> None:
    started = time.perf_counter()
    html_text(page)
    assert time.perf_counter() - started < 20


def test_documentation_reads_as_it_is_shown(test_data: Path) -> None:
    page = (test_data / "documents" / "example-steelJIS-datasheet.html").read_text("utf-8")
    assert "C | Si | Mn | P | S | Cr | Mo\n0.39 - 0.46 | 0.2 - 0.35" in html_text(page)
