"""The page's files as they are: complete, small, and leading nowhere else."""

import json
import re
from html.parser import HTMLParser

from linnet.serve.page import HEADERS, START, page_files

FILES = page_files()
TEXTS = {
    name: file.body.decode()
    for name, file in FILES.items()
    if not name.startswith("katex/") and not name.endswith(".png")
}
KATEX = {name for name in FILES if name.startswith("katex/")}


class Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = Attributes()
    parser.feed(TEXTS[START])
    return parser.found


def test_every_file_that_is_named_is_there_and_every_one_there_is_named() -> None:
    linked = {a.get("src") or a.get("href") for tag, a in elements() if tag in ("script", "link")}
    imported = {name for text in TEXTS.values() for name in re.findall(r'from "\./([\w.]+)"', text)}
    loaded = {"service-worker.js"}
    icons = {icon["src"] for icon in json.loads(TEXTS["manifest.webmanifest"])["icons"]}
    assert linked | imported | loaded | icons | {START} == set(FILES) - KATEX
    assert 'const WORKER = "service-worker.js"' in TEXTS["install.js"]


def test_katex_is_whole_and_loaded_by_nothing_but_a_formula() -> None:
    style = FILES["katex/katex.min.css"].body.decode()
    fonts = {f"katex/{name}" for name in re.findall(r"url\(([^)]*)\)", style)}
    own = {"katex/katex.min.css", "katex/katex.min.js", "katex/LICENSE.txt"}
    assert fonts | own == KATEX
    assert {name for name, text in TEXTS.items() if "katex/" in text} == {"math.js"}
    code = FILES["katex/katex.min.js"].body.decode()
    assert not re.search(r"innerHTML|\beval\(|new Function|document\.write", code)
    assert set(re.findall(r"https?://[^\"']*", style + code)) == {
        "http://www.w3.org/1998/Math/MathML", "http://www.w3.org/2000/svg",
    }  # fmt: skip
    assert sum(len(FILES[name].body) for name in KATEX) < 600_000


def test_nothing_leads_to_another_place() -> None:
    allowed = (
        "http://www.w3.org/2000/svg",
        "https://spec.",
        "https://html.spec",
        "https://platform.",
    )
    for name, text in TEXTS.items():
        found = [
            u for u in re.findall(r"https?://[\w][^\s'\")`]*", text) if not u.startswith(allowed)
        ]
        if name == "links.js":
            found.remove("https://known.example@elsewhere.example")
        assert found == [], name


def test_no_script_or_style_stands_in_the_markup_and_none_makes_markup() -> None:
    for tag, attributes in elements():
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "style"
        assert tag != "script" or "src" in attributes
    for name, text in TEXTS.items():
        code = re.sub(r"//.*", "", text) if name.endswith(".js") else ""
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", code
        )


def test_every_picture_that_is_used_is_there() -> None:
    symbols = {
        a["id"].removeprefix("icon-") for tag, a in elements() if tag == "symbol" and a["id"]
    }
    code = "\n".join(text for name, text in TEXTS.items() if name.endswith(".js"))
    used = set(re.findall(r"#icon-(\w+)", TEXTS[START]))
    used |= {
        name
        for call in re.findall(r"(?:icon|iconButton|flash|choice|tool|made)\(([^()]*)", code)
        for name in re.findall(r'"(\w+)"', call)
        if name in symbols
    }
    assert symbols == used
    for name in re.findall(r'\bicon(?:Button)?\("(\w+)"', code):
        assert name in symbols


def test_what_the_scripts_look_for_is_in_the_markup() -> None:
    ids = {a["id"] for _, a in elements() if "id" in a}
    code = "\n".join(text for name, text in TEXTS.items() if name.endswith(".js"))
    assert set(re.findall(r'byId\("([\w-]+)"\)', code)) <= ids
    assert len(ids) == sum("id" in a for _, a in elements()), "an id stands twice"


def test_both_dark_palettes_are_the_same() -> None:
    blocks = re.findall(r"color-scheme: dark;\s+(--page.*?)\}", TEXTS["base.css"], re.DOTALL)
    assert len(blocks) == 2
    assert blocks[0].split() == blocks[1].split()


def test_files_are_sent_with_a_policy_and_a_tag_of_their_content() -> None:
    assert FILES[START].media_type == "text/html; charset=utf-8"
    assert len({file.tag for file in FILES.values()}) == len(FILES)
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
