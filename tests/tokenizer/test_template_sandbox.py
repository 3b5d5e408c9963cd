"""Templates that mean harm, or never end: each is refused in one line, soon."""

from __future__ import annotations

import re
import time
import tracemalloc
from typing import Any

import pytest

from linnet.errors import DataError, LinnetError, ModelError
from linnet.tokenizer import confined, template_sandbox
from linnet.tokenizer.chat import ChatTemplate

MESSAGES = [{"role": "user", "content": "Hello"}]


def render(source: str, **options: Any) -> str:
    return ChatTemplate({"default": source}, {"eos_token": "</s>"}).render(MESSAGES, **options)


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ raise_exception.__globals__['os'] }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.__call__.__globals__ }}",
    "{{ namespace(__class__=1) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ self.__class__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{% for m in messages %}{{ loop.__class__ }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}{{ m._func }}",
    "{{ (1).to_bytes(4, 'big') }}",
    "{{ 'a'.encode() }}",
    "{{ (messages | map('upper')).gi_frame.f_globals }}",
    "{{ messages | map(attribute='__class__') | list }}",
]
INCLUDING = [
    "{% include 'a' %}",
    "{% import 'a' as b %}",
    "{% from 'a' import b %}",
    "{% extends 'a' %}",
]
ENDLESS = [
    "{{ 'a' * 10**10 }}",
    "{{ [0] * 10**9 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 2 ** 100000 }}",
    "{{ range(10**9) | list }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}{% for i in range(99) %}"
    "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s.join([ns.s, ns.s, ns.s]) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = ns.s | join(ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}"
    "{% for i in range(99) %}{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
    "{% set ns = namespace(l=[1]) %}"
    "{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(l=[1]) %}"
    "{% for i in range(99) %}{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}"
    "{{ ns.l | tojson }}",
    "{% set ns = namespace(n=namespace()) %}{% for i in range(99) %}"
    "{% set ns.n = namespace(a=ns.n, b=ns.n) %}{% endfor %}{{ ns.n }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 1000000000) }}",
    "{{ 'a' | indent(10**9) }}",
    "{{ 'a' | indent(width=10**9, first=true) }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ [1] | batch(10**9, 'x') | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ [[1]] | tojson(indent=10**9) }}",
    "{{ [1, 2] | tojson(separators=('x' * 99999, 'y')) }}" * 60,
    "{{ 1 | round(10**9, 'ceil') }}",
    "{{ lipsum(n=10**9) }}",
    "{{ strftime_now('%Y' * 10**6) }}",
    *(
        "{% set ns = namespace(d={'a': 1}) %}{% for i in range(40) %}"
        f"{{% set ns.d = {{'a': ns.d.{view}, 'b': ns.d.{view}}} %}}{{% endfor %}}{use}"
        for view in ("values()", "items()", "items() | list", "values() | list")
        for use in ("{{ ns.d }}", "{{ ns.d ~ '' }}", "{{ ns.d | string }}", "{{ ns.d == ns.d }}")
    ),
    "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}"
    "{% set ns.l = [ns.l[:], ns.l[:]] %}{% endfor %}{{ ns.l }}",
    "{% set a = range(9999) | list %}{% for i in range(99999) %}{{ -1 in a }}{% endfor %}",
    "{% set a = range(9999) | list %}{% for i in range(99999) %}{{ a == a[:] }}{% endfor %}",
    "{% set a = range(9999) | list %}{% for i in range(99999) %}{% set b = a[1:] %}{% endfor %}",
    "{% for b in range(99) %}{% for a in range(99999) if a < 0 %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999) | sum }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999) | max }}{% endfor %}",
]


@pytest.mark.parametrize("source", [*ESCAPES, *INCLUDING])
def test_escapes_are_refused(source: str) -> None:
    try:
        shown = render(source)
    except LinnetError as error:
        shown = str(error)
    # Jinja shows nothing for a method that it does not offer, as long as nobody calls it.
    refused = r"|\[Undefined\]|tokenizer_config.json: the chat template[^\n]*"
    assert re.fullmatch(refused, shown)


@pytest.mark.parametrize("source", ENDLESS)
def test_templates_without_end_are_stopped(source: str) -> None:
    """By counting alone, without the process that would be ended."""
    tracemalloc.start()
    started = time.monotonic()
    try:  # half a second: a test has no more patience
        outcome, _ = template_sandbox.render(source, {"messages": MESSAGES}, seconds=0.5)
        assert outcome in ("stopped", "failed", "uncompiled")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 30


def test_where_counting_fails_the_process_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object, **options: object) -> None:
        raise confined.EndedError("it takes longer than 5 seconds", late=True)

    monkeypatch.setattr(confined, "call", late)
    with pytest.raises(ModelError, match="is stopped: it takes longer than 5 seconds"):
        render("{{ messages }}")


def test_a_template_of_very_many_parts_is_refused_before_it_takes_memory() -> None:
    for source in ("{{a}}" * 52_000, "{{ [" + "1," * 20_000 + "] }}"):
        with pytest.raises(ModelError, match="does not compile, line 1: it has more than"):
            render(source)


def test_constants_are_not_computed_while_compiling() -> None:
    template = ChatTemplate({"default": "{% if false %}{{ 'a' * 10**10 }}{% endif %}ok"})
    assert template.render(MESSAGES) == "ok"


def test_a_long_conversation_is_no_harm() -> None:
    source = (
        "{% set ns = namespace(text='') %}{% for m in messages %}"
        "{% set ns.text = m.role ~ ': ' ~ m.content | trim + eos_token %}{{ ns.text }}{% endfor %}"
    )
    template = ChatTemplate({"default": source}, {"eos_token": "</s>"})
    messages = [{"role": "user", "content": "word " * 50_000}] * 40
    assert len(template.render(messages)) == 40 * (len("user: ") + 249_999 + 4)
    many = [{"role": "user", "content": "word"}] * 5_000
    assert len(template.render(many)) == 5_000 * len("user: word</s>")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{% if %}", "does not compile, line 2"),
        ("{{ x | nosuchfilter }}", "does not compile, line 1"),
        ("a{% endfor %}", "does not compile, line 1"),
        ("{{ " + "(" * 100_000, "does not compile"),
        ("{{ " + "-" * 30_000 + "1 }}", "does not compile"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "does not compile|cannot render"),
        ("x" * 300_000, "at most"),
        ("{{ messages[0].content + 1 }}", r"cannot render this conversation \(TypeError"),
        ("{{ nothing.content }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_faults_of_templates_are_told_in_one_line(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        render(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_template_can_refuse_a_conversation() -> None:
    with pytest.raises(DataError, match="refuses this conversation: Roles must alternate"):
        render("{{ raise_exception('Roles must\n alternate') }}")


def test_templates_see_plain_data_only() -> None:
    class Text(str):
        def harm(self) -> str:
            return "harm"

    template = ChatTemplate({"default": "{{ messages[0].content.harm }}{{ messages[0].o.harm }}"})
    messages = [{"role": "user", "content": Text("a"), "o": Text}]
    assert template.render(messages) == ""


def test_what_transformers_adds_is_there() -> None:
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    source = (
        "{{ {'b': '<é>', 'a': [1, none, true]} | tojson }}"
        "{{ {'b': '<é>', 'a': [1]} | tojson(indent=2, sort_keys=true, ensure_ascii=true) }}"
        "{{ [1, 2] | tojson(separators=(',', ':')) }}"
        "{{ strftime_now('%Y') }}{{ dict(a=1).items() | list }}{{ namespace(a=1).a }}"
        "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}"
        "{% if i == 3 %}{% break %}{% endif %}{{ i }}{{ loop.index }}{{ loop.last }}{% endfor %}"
        "  {% if true %}\n x\n  {% endif %}\n"
        "{% macro m(a, b='2') %}{{ a ~ b }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}"
        "{% call m(3) %}inner{% endcall %}{% set x %}{{ 1 }}y{% endset %}{{ x }}"
        "{{ messages | map(attribute='role') | join(', ') }}{{ messages | length }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list }}{{ ' a ' | trim }}"
        "{{ 'a-b'.split('-')[-1] }}{{ 'abc'[::-1] }}{{ '%s=%d' % ('a', 3) }}"
        "{{ '{}-{a}'.format(1, a=2) }}{{ 7 // 2 }}{{ 2 ** 8 }}{{ 7 % 4 }}{{ 1.5 * 2 }}"
        "{{ eos_token }}{{ unknown }}{{ 'x' if unknown is defined else 'y' }}{{ none }}"
        "{% filter upper %}up{% endfilter %}{{ '<' | e }}{{ [3, 1] | sort | first }}"
        "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% else %}none{% endfor %}"
        "{% for a in [[1, [2]]] recursive %}{{ a if a is integer else loop(a) }}{% endfor %}"
    )
    (expected,), _ = transformers.render_jinja_template(
        conversations=[MESSAGES], chat_template=source, eos_token="</s>"
    )
    assert render(source) == expected
