"""Chat templates that never end, take all memory, or reach for what is none of their business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from case import Case
from tokenizers_made import sound_tokenizer

LINE = r"\S+tokenizer_config\.json: the chat template (is stopped|does not compile|cannot render)"
REFUSED = rf"{LINE}|\S+: expected a chat template"


def _nested(value: str, use: str, *, start: str, times: int = 40) -> str:
    return (
        f"{{% set ns = namespace(v={start}) %}}{{% for i in range({times}) %}}"
        f"{{% set ns.v = {value} %}}{{% endfor %}}{use}"
    )


def _sources() -> Iterator[tuple[str, str]]:
    uses = {
        "written": "{{ ns.v }}",
        "joined": "{{ ns.v ~ '' }}",
        "string": "{{ ns.v | string }}",
        "equal": "{{ ns.v == ns.v }}",
        "in": "{{ 'x' in ns.v }}",
        "tojson": "{{ ns.v | tojson }}",
    }
    dicts = ("values()", "items()", "values() | list", "items() | list", "copy()")
    for view in dicts:
        for name, use in uses.items():
            made = _nested(f"{{'a': ns.v.{view}, 'b': ns.v.{view}}}", use, start="{'a': 1}")
            yield f"{view} {name}", made
    lists = ("[ns.v, ns.v]", "[ns.v[:], ns.v[:]]", "(ns.v, ns.v)", "ns.v + ns.v", "ns.v * 2")
    for value in lists:
        for name in ("written", "string", "equal", "tojson"):
            yield f"{value} {name}", _nested(value, uses[name], start="[1]", times=60)
    texts = (
        "ns.v + ns.v", "ns.v ~ ns.v", "ns.v * 2", "ns.v.replace('a', ns.v)",
        "ns.v | replace('a', ns.v)",
        "ns.v.join([ns.v, ns.v])", "ns.v | join(ns.v)", "'%s%s' % (ns.v, ns.v)",
        "'{0}{0}'.format(ns.v)",
        "ns.v | tojson | tojson", "(ns.v | urlencode) + ns.v", "[ns.v, ns.v] | string",
    )  # fmt: skip
    for value in texts:
        yield f"text {value}", _nested(value, "{{ ns.v }}", start="'a%aa'", times=99)
    loops = (
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(10**12) if i < 0 %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for i in range(99999) %}" + "x" * 9_999 + "{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
        "{% for i in range(99999) %}{{ range(99999) | sum }}{% endfor %}",
        "{% for i in range(99999) %}{{ 'a' in 'b' * 99999 }}{% endfor %}",
        "{% for i in range(99999) %}{{ ('b' * 99999).count('c') }}{% endfor %}",
        "{% for i in range(99999) %}{{ ('ab' * 9999)[::-1] }}{% endfor %}",
        "{% for i in range(99999) %}{{ ('ab ' * 999).split() | unique | list }}{% endfor %}",
    )
    for loop in loops:
        yield f"loop {loop[:60]}", loop
    amounts = (
        "'a' * 10**10", "[0] * 10**9", "10 ** (10 ** 10)", "2 ** 100000", "range(10**9) | list",
        "'%1000000000d' % 1", "'%*d' % (10**9, 1)", "'{:>1000000000}'.format(1)",
        "'a' | indent(10**9)",
        "'a' | center(10**9)", "'a'.ljust(10**9)", "[1] | batch(10**9, 'x') | list",
        "[1] | slice(10**9) | list", "[[1]] | tojson(indent=10**9)", "strftime_now('%Y' * 10**6)",
        "1 | round(10**9, 'ceil')", "range(10**18) | sum", "10**17 in range(10**18) | list",
    )  # fmt: skip
    for amount in amounts:
        yield f"amount {amount}", "{{ " + amount + " }}"
    yield "52,000 outputs", "{{a}}" * 52_000
    yield "a list of 100,000", "{{ [" + "1," * 100_000 + "] }}"
    yield "parentheses", "{{ " + "(" * 50_000
    yield "signs", "{{ " + "-" * 30_000 + "1 }}"
    yield "ifs", "{% if a %}" * 1_000 + "{% endif %}" * 1_000
    yield "long", "x" * 300_000
    yield "longer", "x" * 3_000_000
    yield "an attribute of an attribute", "{{ a" + ".a" * 20_000 + " }}"


def _write(place: Path, source: str) -> None:
    sound_tokenizer(place)
    config = {"eos_token": "</s>", "chat_template": source}
    (place / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


QUICK = ("values() written", "52,000 outputs", "items() equal")
CASES = [
    Case(
        f"template: {name}",
        lambda place, source=source: _write(place, source),
        ("chat", "DIR"),
        REFUSED,
        quick=name in QUICK,
        memory=1_500 << 20,
    )
    for name, source in _sources()
]
