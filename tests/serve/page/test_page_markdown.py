"""How the page shows Markdown: as markdown-it does, safely, quickly, however it comes."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from opened_page import Opened
from page_server import Answer

Tree = list[Any]

HERE = Path(__file__).parent
SAMPLES = (HERE / "samples.md").read_text("utf-8").split("\n%%%%\n")

TREES = """async texts => {
  const { MarkdownView } = await import(location.origin + "/markdown.js");
  const inside = (node) => [...node.childNodes].map(tree).filter((part) => part !== "");
  const tree = (node) => {
    if (node.nodeType === 3) return node.data;
    const name = node.localName;
    if (node.matches(".code-block")) {
      const language = node.querySelector(".code-head span").textContent;
      return ["pre", language === "text" ? "" : language, node.querySelector("code").textContent];
    }
    if (name === "del") return ["s", ...inside(node)];
    if (node.matches(".table")) return tree(node.firstChild);
    if (node.matches(".picture")) return ["img", node.getAttribute("href"), node.textContent];
    if (node.matches(".no-link")) return ["a", null, ...inside(node)];
    if (name === "a") return ["a", node.getAttribute("href"), ...inside(node)];
    if (name === "ol") return ["ol", Number(node.getAttribute("start") ?? 1), ...inside(node)];
    if (/^t[hd]$/.test(name)) return [name, node.className, ...inside(node)];
    if (/^h[1-6]$/.test(name)) return [node.className, ...inside(node)];
    return [name, ...inside(node)];
  };
  return texts.map((text) => {
    const view = new MarkdownView();
    view.show(text);
    return inside(view.container);
  });
}"""


class Reference(HTMLParser):
    """What markdown-it makes of a text, in the same form."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[Tree] = [[""]]
        options = {"html": False, "breaks": True, "linkify": False}
        self.feed(MarkdownIt("js-default", options).render(text))

    def tree(self) -> Tree:
        return self.open[0][1:]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "code" and self.open[-1][0] == "pre":
            self.open[-1][1] = (given.get("class") or "").removeprefix("language-")
            return
        made: Tree = [tag]
        if tag == "a":
            made.append(_address(given["href"]))
        elif tag == "img":
            self.open[-1].append(["img", _address(given["src"]), given["alt"]])
            return
        elif tag == "ol":
            made.append(int(given.get("start") or 1))
        elif tag in ("th", "td"):
            made.append((given.get("style") or "").removeprefix("text-align:"))
        elif tag == "pre":
            made.append("")
        if tag in ("br", "hr"):
            self.open[-1].append(made)
        else:
            self.open[-1].append(made)
            self.open.append(made)

    def handle_endtag(self, tag: str) -> None:
        if tag == "code" and self.open[-1][0] == "pre":
            return
        closed = self.open.pop()
        if closed[0] == "pre":
            closed[2:] = ["".join(closed[2:]).removesuffix("\n")]

    def handle_data(self, data: str) -> None:
        into = self.open[-1]
        if into[0] != "pre":
            if into[-1] == ["br"]:
                data = data.removeprefix("\n")
            if not data.strip("\n") and into[0] not in ("p", "em", "strong", "code"):
                return
            data = data.strip("\n")
        if data:
            into.append(data)


def _address(href: str | None) -> str | None:
    """As the browser writes addresses; null for those that lead to nowhere outside."""
    if not href or ("://" not in href and not href.startswith("mailto:")):
        return None
    return href + "/" if href.count("/") == 2 else href


def joined(tree: Any) -> Any:
    """With texts beside each other made one."""
    if not isinstance(tree, list):
        return tree
    first = 2 if tree[0] in ("a", "img", "ol", "td", "th", "pre") else 1  # after name and attribute
    made: Tree = tree[:first]
    for part in map(joined, tree[first:]):
        if isinstance(part, str) and len(made) > first and isinstance(made[-1], str):
            made[-1] += part
        else:
            made.append(part)
    return made


def test_it_is_shown_as_markdown_it_shows_it(opened: Opened) -> None:
    found = opened.page.evaluate(TREES, SAMPLES)
    for text, tree in zip(SAMPLES, found, strict=True):
        assert joined(["", *tree]) == joined(["", *Reference(text).tree()]), text


LONG = 10.0  # seconds, on a busy machine; a quadratic time would be much more
HOSTILE = {
    "emphasis": "*a _b " * 20_000,
    "stars": "*" * 50_000 + "a" + "*" * 50_000,
    "closers": "a* b_ " * 20_000,
    "brackets": "[" * 50_000 + "]" * 50_000,
    "links": "[a](b" * 20_000,
    "titles": '[a](b "' * 20_000,
    "quotes": ">" * 50_000 + "a",
    "nested lists": "- " * 50_000 + "a",
    "deepening lists": "\n".join(" " * k + "- a" for k in range(400)),
    "backticks": "".join("`" * k + "a" for k in range(400)),
    "spaces": "a" + " " * 100_000 + "b\n" * 3,
    "spaces in a link": "[a](" + " " * 100_000 + "b",
    "rule": "* " * 50_000 + "a",
    "heading": "# " + "#" * 100_000 + "a",
    "table": "|" * 50_000 + "\n" + "|-" * 50_000,
    "table of spaces": "a|b\n-|-" + " " * 100_000 + "x",
    "wide rows": "|a" * 64 + "|\n" + "|-" * 64 + "|\n" + "|\n" * 3_000,
    "numbers": "```c\n0x" + "f" * 50_000 + "g9\n```",
    "strings": "```py\n" + "'a" * 25_000 + "\n```",
    "addresses": "https://a.example/" + "." * 100_000 + "x",
    "parentheses": "https://a.example/" + ")" * 100_000,
    "entities": "&" * 50_000 + "&#" * 25_000,
    "angles": "<a:" * 30_000 + "<!--" * 10_000,
    "tildes": "~~a" * 30_000,
    "setext": "a\n" * 30_000 + "===",
    "dollars": "$a " * 30_000,
    "double dollars": "$$a\n" * 20_000 + "$",
    "formulas that stay open": "\\(a \\[b\n" * 20_000,
    "formulas that end late": "\\(a " * 20_000 + "\\)",
    "blocks of formulas": "\\[\n" * 20_000,
}


def test_no_text_keeps_the_page_busy_for_long(opened: Opened) -> None:
    for name, text in HOSTILE.items():
        begun = time.perf_counter()
        opened.page.evaluate(
            """async text => {
              const { MarkdownView } = await import(location.origin + "/markdown.js");
              new MarkdownView().show(text);
            }""",
            text,
        )
        assert time.perf_counter() - begun < LONG, name


def test_a_text_that_grows_is_shown_as_if_it_had_come_at_once(opened: Opened) -> None:
    same = opened.page.evaluate(
        """async text => {
          const { MarkdownView } = await import(location.origin + "/markdown.js");
          const growing = new MarkdownView();
          for (let end = 0; end < text.length; end += 7) growing.show(text.slice(0, end));
          growing.show(text);
          const whole = new MarkdownView();
          whole.show(text);
          const first = growing.container.firstChild;
          growing.show(text + " more");
          growing.show(text);
          return [
            growing.container.firstChild === first,
            growing.container.isEqualNode(whole.container),
          ];
        }""",
        "\n\n".join(SAMPLES),
    )
    assert same == [True, True]


UNSAFE = (HERE / "unsafe.md").read_text("utf-8")

NODES = """() => {
  const found = { names: new Set(), attributes: new Set(), links: [] };
  for (const node of document.querySelectorAll("#thread .markdown *")) {
    found.names.add(node.localName);
    for (const { name } of node.attributes) found.attributes.add(name);
    if (node.href && node.localName === "a") found.links.push([node.href, node.rel, node.target]);
  }
  return { names: [...found.names], attributes: [...found.attributes], links: found.links };
}"""


def test_what_a_model_writes_is_never_markup(opened: Opened) -> None:
    opened.page.on("dialog", lambda dialog: opened.wrong.append("a script ran") or dialog.dismiss())
    opened.server.script.append(
        Answer(pieces=tuple(UNSAFE[k : k + 11] for k in range(0, 2000, 11)))
    )
    opened.say("<b>mine</b> **too**")
    found = opened.page.evaluate(NODES)
    assert set(found["names"]) <= {
        *("p", "br", "a", "span", "div", "pre", "code", "button", "svg", "use", "table"),
        *("thead", "tbody", "tr", "th", "td"),
    }
    assert not [name for name in found["attributes"] if name.startswith("on") or name == "style"]
    safe = "noopener noreferrer nofollow"
    assert [link[1:] for link in found["links"]] == [[safe, "_blank"]] * len(found["links"])
    assert [link[0] for link in found["links"]] == [
        "https://fine.example/",
        "https://evil.example/pixel.png",  # a link to be clicked, not a picture
        *["https://evil.example/"] * 3,  # as they stand in the text
    ]
    assert opened.texts()[0] == "<b>mine</b> **too**"
    assert "<script>alert(1)</script>" in opened.texts()[1]


def test_the_browser_itself_refuses_markup(opened: Opened) -> None:
    """The second wall, should the first have a hole."""
    refused = opened.page.evaluate(
        """() => {
          const tried = [];
          const acts = [() => { document.body.innerHTML = "<p>"; }, () => eval("1")];
          for (const act of acts) {
            try { act(); tried.push("done"); } catch (error) { tried.push("refused"); }
          }
          const image = new Image();
          image.src = "https://evil.example/x.png";
          return tried;
        }"""
    )
    assert refused[0] == "refused"
    opened.page.wait_for_timeout(50)
    assert any("Trusted" in line for line in opened.wrong)
    opened.wrong.clear()


def test_tasks_bare_addresses_and_code(opened: Opened) -> None:
    text = (
        "- [ ] to do\n- [x] done\n\n"
        "See https://a.example/x_y_z?q=(1), (https://b.example/). www.c.example is no link.\n\n"
        "```python\ndef f(x):\n    return 'a' + 1  # why\n```\n"
    )
    opened.server.script.append(Answer(pieces=(text,)))
    opened.say("Hello")
    assert opened.page.locator("#thread li.task input:checked").count() == 1
    links = opened.page.eval_on_selector_all("#thread .markdown a", "all => all.map(a => a.href)")
    assert links == ["https://a.example/x_y_z?q=(1)", "https://b.example/"]
    colored = opened.page.eval_on_selector_all(
        "#thread code span", "spans => spans.map(s => [s.className.slice(5), s.textContent])"
    )
    assert colored == [
        ["keyword", "def"], ["name", "f"], ["keyword", "return"],
        ["string", "'a'"], ["number", "1"], ["comment", "# why"],
    ]  # fmt: skip
    opened.page.click(".copy-code")
    opened.page.wait_for_selector(".copy-code[aria-label=Copied]")
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == "def f(x):\n    return 'a' + 1  # why"


FORMULAS = {
    # Pandoc's manual: "the opening $ must have a non-space character immediately to its right,
    # while the closing $ must have a non-space character immediately to its left, and must not be
    # followed immediately by a digit. Thus, $20,000 and $30,000 won't parse as math."
    "$20,000 and $30,000": [],
    "$5 and $10, or US$5 to US$6": [],
    "between $5 and 6$ more": [],
    "$ a$ and $a $ and a$b$c": [],
    r"\$x\$ and `$x$` and [x\]": [],
    "$x$ costs $5, $y_1$ costs $6": ["x", "y_1"],
    "$3$ and $2 + 2 = 4$": ["3", "2 + 2 = 4"],
    r"\(a*b*c\) *and* $a*b*c$": ["a*b*c", "a*b*c"],
    r"so $$x^2$$, and \[ y = 1 \] too": ["x^2", "y = 1"],
    "text\n$$\na\n\nb\n$$\ntext": ["a\n\nb"],
    "$$\nnot closed": [],
    r"\[" + "\nx\n" + r"\]": ["x"],
    "- $x$\n- $$y$$": ["x", "y"],
    "|a|\n|-|\n|$x$|": ["x"],
}
ONE = """async ([text]) => {
  const { MarkdownView } = await import(location.origin + "/markdown.js");
  const view = new MarkdownView();
  view.show(text);
  document.querySelector("#thread").replaceChildren(view.container);
  document.querySelector("#thread").hidden = false;
  return [...view.container.querySelectorAll(".math")].map((node) => node.linnetMath.tex);
}"""


def test_formulas_are_told_from_amounts_of_money(opened: Opened) -> None:
    for text, formulas in FORMULAS.items():
        assert opened.page.evaluate(ONE, [text]) == formulas, text


def test_formulas_are_set_and_what_cannot_be_stays(opened: Opened) -> None:
    page = opened.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(ONE, ["none"])
    assert not any("katex" in url for url in asked)
    hostile = r"$\href{javascript:alert(1)}{\includegraphics{https://x.example/}}$"
    page.evaluate(ONE, [r"$\vec{AB} = \sqrt{2}$ and $\wrong$ and " + hostile])
    page.wait_for_selector(".math .katex")
    opened.until("document.querySelectorAll('.math .katex').length === 2")
    assert page.inner_text(".unset-math") == r"$\wrong$"
    assert page.locator(".math a, .math img").count() == 0
    # What is read out, and the styles that a policy would forbid as attributes.
    assert page.locator(".math math mover").count() == 1
    assert page.eval_on_selector_all(
        ".math svg", "all => all.every(svg => svg.closest('.katex').getBoundingClientRect().width)"
    )
    assert sum("katex.min.js" in url for url in asked) == 1
