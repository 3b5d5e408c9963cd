"""What a text must be: one grammar for both engines, from expressions, schemas and GBNF.

Expressions are compared with ``re``, ranges with Python's UTF-8, and what a grammar allows is found
by trying all ways through it, and by llguidance.
"""

import datetime
import functools
import json
import random
import re
import time
from typing import Any

import pytest

from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.constraints import compiler, gbnf, json_schema, regex
from linnet.generate.constraints.automata import Automaton, written_out
from linnet.generate.constraints.compiler import MOST_CHOICES, Grammar, compiled
from linnet.generate.constraints.gbnf import byte_sequences
from linnet.generate.constraints.json_values import FORMATS
from linnet.generate.constraints.numerals import integers, numbers
from linnet.generate.constraints.patterns import (
    HIGHEST,
    Characters,
    Either,
    Pattern,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Text,
    characters,
)

EXPRESSIONS = [
    "abc", "a|bc|", "(ab|c)*d", "[a-c]+x?", "[^a-c]", "a{2,3}b{2}", r"\d{3}-\d+", "(?:a|b)+?c",
    r"[\w-]+@[\w.]+", "^(yes|no)$", ".", "a.c", r"\S+", r"[\s\d]", "é|ü", "[à-ü]+", "(?P<n>ab)c",
    r"\x41\u00e9", "[]a]", "[a\\]b]", "{x}", r"\.", "((a|b)(c|d)){0,2}",
]  # fmt: skip


def expression_of(pattern: Pattern) -> str:
    """A pattern as an expression of Python's, written another way than it was read."""
    match pattern:
        case Text(value):
            return re.escape(value)
        case Characters(ranges):
            spans = (f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
            return f"[{''.join(spans)}]"
        case Sequenced(parts):
            return "".join(map(expression_of, parts))
        case Either(choices):
            return f"(?:{'|'.join(map(expression_of, choices))})"
        case Repeated(part, least, most):
            return f"(?:{expression_of(part)}){{{least},{'' if most is None else most}}}"
    raise AssertionError(pattern)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_mean_what_they_do_in_python(expression: str) -> None:
    ours = re.compile(expression_of(regex.read(expression)))
    theirs = re.compile(expression, re.ASCII)
    dice = random.Random(expression)
    letters = "abcdx1-.@ éü{},]\n" + expression[:4]
    texts = ["".join(dice.choices(letters, k=dice.randrange(6))) for _ in range(3000)]
    texts += ["yes", "no", "abc", "Aé", "123-4", "a@b.c", "{x}", "aabb"]
    found = [text for text in texts if ours.fullmatch(text)]
    assert found == [text for text in texts if theirs.fullmatch(text)]


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("a(b", "never closed"), ("a)b", "unmatched"), ("(?=a)b", r"'\(\?='"), (r"(a)\1", r"'\\1'"),
        (r"\bword", r"'\\b'"), ("*a", "nothing to repeat"), ("a{3,2}", "at most 2"),
        ("a{500000}", "more than 100,000"), ("[z-a]", "before it begins"), ("[a", "never closed"),
        (r"\p{Greek}", "no general category"), ("a^b", "in the middle"),
        ("(a$b)", "in the middle"), ("(?<=a)b", "look behind"),
        ("[[:name:]]", "class"), ("(?x)a", "'"),
        ("(" * 300 + ")" * 300, "deep"), (r"\x4", "no character"), (r"\ud800", "no character"),
    ],
)  # fmt: skip
def test_what_no_automaton_matches_is_refused(expression: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        regex.read(expression)


def test_sets_of_characters_are_their_bytes() -> None:
    """Every code point at the edges, by Python's own UTF-8."""
    dice = random.Random(1)
    edges = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, HIGHEST]
    for _ in range(60):
        bounds = sorted(dice.choices(edges + [dice.randrange(HIGHEST) for _ in range(6)], k=4))
        wanted = characters([(bounds[0], bounds[1]), (bounds[2], bounds[3])])
        sequences = list(byte_sequences(wanted.ranges))
        near = {min(max(b + d, 0), HIGHEST) for b in bounds + edges for d in (-64, -1, 0, 1, 64)}
        for code in near - set(range(0xD800, 0xE000)):
            spelt = chr(code).encode()
            hits = sum(
                len(sequence) == len(spelt)
                and all(
                    low <= byte <= high for byte, (low, high) in zip(spelt, sequence, strict=True)
                )
                for sequence in sequences
            )
            assert hits == any(first <= code <= last for first, last in wanted.ranges), hex(code)


def test_grammars_are_read_and_written() -> None:
    grammar = """
    # a list
    root ::= item (", " item)* | "none" # or not
    item ::= [a-z]{2,} | "\\x41\\n\\"" [^é"]
      | ( "x"
          "y" )? .
    """
    rules = gbnf.read(grammar)
    assert list(rules) == ["root", "item"]
    assert gbnf.read(gbnf.write(rules, in_bytes=False)) == rules
    spelt = gbnf.write({"root": Text("é")}, in_bytes=True)
    assert spelt == 'root ::= "\\xC3\\xA9"'
    often = Repeated(Characters(((0x20, 0x10FFFF),)), 4, 255)  # in bytes: a choice of sequences
    spelt = gbnf.write({"root": often, "group-0": Text("x")}, in_bytes=True)
    assert "root ::= group-1{4,255}" in spelt
    assert "){" not in spelt  # llama.cpp counts what is in brackets for each repetition
    for wrong, told in (
        ("root ::= x", "'x' is missing"),
        ('a ::= "b"', "must have a rule 'root'"),
        ('root ::= "b', "end of a text"),
        ("root ::= [z-a]", "range"),
        ('root ::= ("a"', r"'\)'"),
        ('root ::= "a"{99999}', "repetitions"),
        ("root ::= " + "(" * 200, "deep"),
        ("root ::= <think>", "must have"),
    ):
        with pytest.raises(ConfigError, match=told):
            gbnf.read(wrong)


def test_numerals_of_numbers_in_bounds() -> None:
    dice = random.Random(1)
    for round_ in range(30):
        low, high = sorted(dice.randrange(-1500, 1500) // dice.choice((1, 50)) for _ in range(2))
        for least, most in ((low, high), (None, high), (low, None), (None, None)):
            whole = integers(least, most)
            assert whole is not None
            expression = re.compile(expression_of(whole))
            for number in range(-1600, 1600, 3):
                wanted = least is None or number >= least
                wanted = wanted and (most is None or number <= most)
                assert bool(expression.fullmatch(str(number))) == wanted, (least, most, number)
            open_below, open_above = bool(round_ % 2), bool(round_ % 3)
            any_number = numbers(least, most, open_below=open_below, open_above=open_above)
            if any_number is None:
                continue
            expression = re.compile(expression_of(any_number))
            for value in (x + dice.choice((0, 0.25, -0.5)) for x in range(-60, 60)):
                above = least is None or value > least or (value == least and not open_below)
                below = most is None or value < most or (value == most and not open_above)
                spelt = repr(value).removesuffix(".0").replace("-0", "0", value == 0)
                assert bool(expression.fullmatch(spelt)) == (above and below), (least, most, spelt)


NONE = "must allow a value"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"type": "string", "format": "date", "not": {}}, NONE),
        ({"$ref": "other.json"}, "itself only"),
        ({"$ref": "#/$defs/x"}, "which it has not"),
        ({"$ref": "#"}, "without end"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, NONE),
        ({"type": "integer", "minimum": 3, "maximum": 2}, NONE),
        ({"type": "integer", "minimum": "3"}, "must be a number"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, NONE),
        ({"type": "string", "minLength": 10**9}, "at most"),
        ({"type": "string", "pattern": "(?=a)"}, "regular expression"),
        ({"required": ["a"], "additionalProperties": False}, NONE),
        ({"enum": []}, NONE),
        ({"enum": "a"}, "must be a list"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, NONE),
        ({"properties": []}, "must be an object"),
        ({"anyOf": [3]}, "must be an object"),
        ({"type": "integer", "minimum": True}, "must be a number"),
        ({"type": "integer", "minimum": float("nan")}, "must be a number"),
        ({"type": "integer", "minimum": 10**400}, "must be at most 1e.30"),
        ({"type": "number", "maximum": -(10**400)}, "must be at least -1e.30"),
        ({"required": [[]]}, "a list of names"),
        ({"required": [1, "a"]}, "a list of names"),
        ({"allOf": [{"required": ["a"]}, {"required": 1}]}, "must be a list"),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": [1]}]}, "must be an object"),
        ({"properties": ["a"], "$ref": ""}, "without end"),
        ({"$ref": 2.5, "minimum": 1}, "must be a text"),
        ({"$ref": "#name"}, "which it has not"),
        ({"type": []}, "type must be one of"),
        ({"enum": [float("nan")]}, NONE),
        ({"enum": ["a"], "type": "integer"}, NONE),
        ({"enum": ["a", 3], "minLength": 2, "allOf": [{"maximum": 2}]}, NONE),
        ({"pattern": 3, "type": "string"}, "must be a text"),
        ({"format": "date", "maxLength": 9}, NONE),
        ({"format": "date-time", "minLength": 33}, NONE),
        ({"pattern": "^a{5,}$", "maxLength": 4}, NONE),
        ({"properties": {"a": False}, "required": ["a"]}, NONE),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]},
                    {"additionalProperties": False}]}, NONE),
        ({"allOf": [{"enum": [1]}, {"enum": [2]}]}, NONE),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "told apart"),
        ({"oneOf": [True, True]}, NONE),
        ({"type": "string", "not": {"format": "date"}}, "told apart"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems' must stand beside items"),
        ({"unevaluatedProperties": False}, "'unevaluatedProperties' is not supported"),
        ({"$dynamicRef": "#x"}, "'\\$dynamicRef' is not supported"),
        ({"contains": {}, "maxContains": 2}, "'maxContains' is not supported"),
        ({"type": "number", "multipleOf": 0.3}, "multipleOf must be a whole number, or 0.1"),
        ({"minProperties": 2}, "minProperties must be at most one more"),
    ],
)  # fmt: skip
def test_schemas_that_cannot_be_kept(wrong: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        json_schema.rules_of(wrong)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def accepts(given: Rules, text: str) -> bool:
    """Whether these rules allow a text, by trying all that they can."""
    rules = written_out(given)

    def ends(pattern: Pattern, start: int) -> set[int]:
        match pattern:
            case Text(value):
                return {start + len(value)} if text.startswith(value, start) else set()
            case Characters(ranges):
                code = ord(text[start]) if start < len(text) else -1
                return {start + 1} if any(a <= code <= b for a, b in ranges) else set()
            case Rule(name):
                return ends(rules[name], start)
            case Either(choices):
                return set().union(*(ends(choice, start) for choice in choices))
            case Sequenced(parts):
                found = {start}
                for part in parts:
                    found = set().union(*(ends(part, place) for place in found))
                return found
        found, now, count = set(), {start}, 0
        while now:
            found |= now if count >= pattern.least else set()
            if count == pattern.most:
                break
            after = set().union(*(ends(pattern.part, place) for place in now))
            now, count = after if count < pattern.least else after - found, count + 1
        return found

    return len(text) in ends(rules["root"], 0)


def written(rules: Rules) -> str:
    return gbnf.write(written_out(rules), in_bytes=True)


def allows(wanted: object, value: object) -> bool:
    return accepts(json_schema.rules_of(wanted), compact(value))


@pytest.mark.parametrize("bound", [2**53 - 1, 2**63 - 1, 2**64 - 1, 10**25])
def test_wide_bounds_of_integers_are_kept_exactly(bound: int) -> None:
    wanted = {"type": "integer", "minimum": -bound, "maximum": bound}
    for inside in (0, 7, -(10**15), 10**15 + 1, bound - 1, bound, -bound):
        assert allows(wanted, inside)
    for outside in (bound + 1, -bound - 1, bound * 10):
        assert not allows(wanted, outside)
    opened = {"type": "integer", "exclusiveMinimum": 0, "maximum": bound, "exclusiveMaximum": bound}
    assert allows(opened, bound - 1)
    assert not allows(opened, bound)
    assert not allows(opened, 0)
    assert allows({"type": "number", "minimum": -bound, "maximum": bound}, bound)


@pytest.mark.parametrize("bound", [10**400, 1e300, float("inf")])
def test_bounds_that_no_reader_holds_are_taken_as_nearer_ones(bound: float) -> None:
    wanted = {"type": "integer", "minimum": -bound, "maximum": bound}
    assert allows(wanted, -(10**29))
    assert len(written(json_schema.rules_of(wanted))) < 10_000


def test_dates_are_those_of_the_calendar() -> None:
    expression = re.compile(FORMATS["date"])
    years = [1, 4, 10, 100, 400, 900, 1000, 1600, 1899, *range(1900, 2101), 2400, 9990, 9999, 0]
    for year in years:
        for month in range(14):
            for day in range(33):
                try:
                    datetime.date(year, month, day)
                    is_real = True
                except ValueError:
                    is_real = False
                text = f"{year:04}-{month:02}-{day:02}"
                assert bool(expression.fullmatch(text)) == is_real, text
    for number in range(1, datetime.date.max.toordinal(), 97):
        assert expression.fullmatch(datetime.date.fromordinal(number).isoformat())
    moment = {"type": "string", "format": "date-time"}
    assert allows(moment, "2024-02-29T23:59:59Z")
    assert not allows(moment, "2023-02-29T23:59:59Z")


def test_addresses_have_no_zeros_or_dots_too_many() -> None:
    for format_, good, bad in (
        ("ipv4", ("0.10.199.255", "1.2.3.4"), ("01.2.3.4", "1.2.3.256", "1.2.3")),
        ("email", ("a.b+c@d-e.org",), ("a..b@d.org", ".a@d.org", "a@-d.org", "a@d-.org")),
    ):
        wanted = {"type": "string", "format": format_, "minLength": 1, "maxLength": 200}
        assert all(allows(wanted, text) for text in good)
        assert not any(allows(wanted, text) for text in bad)


def test_lengths_beside_a_pattern_that_keeps_them() -> None:
    wanted = {"type": "string", "pattern": "^[a-c]{2}(d|ef)?$", "minLength": 2, "maxLength": 4}
    assert allows(wanted, "abef")
    assert allows({"type": "string", "format": "date", "minLength": 1}, "2020-12-30")
    for pattern in ("^[a-z]+$", "^x[a-z]*y$", "^[a-z]{0,7}$", "^[a-z]$"):
        wanted = {"type": "string", "pattern": pattern, "minLength": 1, "maxLength": 5}
        for size in range(9):
            text = "x" * (size - 1) + "y" if size else ""
            meant = bool(re.search(pattern, text)) and 1 <= size <= 5
            assert allows(wanted, text) == meant, (pattern, text)
    address = {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}  # pydantic's
    assert allows(address, "http://a.b/")
    assert not allows(address, "")


def test_schemas_together_ask_for_what_each_does() -> None:
    both = {
        "allOf": [
            {"properties": {"a": {"type": ["integer", "null"], "minimum": 2}}},
            {"properties": {"a": {"type": "number", "maximum": 4, "minimum": 3}}},
        ],
        "type": "object",
    }
    assert [value for value in (None, 1, 2, 3, 4, 5) if allows(both, {"a": value})] == [3, 4]
    choice = {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y"]}, "a": {"type": "integer"}},
        "required": ["kind"],
        "additionalProperties": False,
        "anyOf": [
            {"properties": {"kind": {"enum": ["x"]}}, "required": ["a"]},
            {"properties": {"kind": {"const": "y"}, "b": {}}},
        ],
    }
    assert allows(choice, {"kind": "x", "a": 1})
    assert allows(choice, {"kind": "y"})
    assert not allows(choice, {"kind": "x"})
    assert not allows(choice, {"kind": "y", "b": 1})  # 'b' is an additional one beside anyOf
    closed = {"allOf": [{"properties": {"a": {}, "b": {}}, "additionalProperties": {}},
                        {"properties": {"b": {}}, "additionalProperties": {"type": "null"}}],
              "type": "object"}  # fmt: skip
    assert allows(closed, {"a": None, "b": 1, "c": None})
    assert not allows(closed, {"a": 1})
    assert not allows(closed, {"c": 1})
    assert allows({"enum": ["a", 1, None], "type": ["integer", "null"]}, 1)
    assert not allows({"enum": ["a", 1, None], "type": ["integer", "null"]}, "a")
    assert not allows({"properties": {"a": False}, "additionalProperties": True}, {"a": 1})


def test_other_keys_repeat_none_that_a_schema_names() -> None:
    named = ["a", "ab", "", 'b"c', "été", "naïve"]
    wanted = {
        "properties": {name: {"type": "null"} for name in named},
        "additionalProperties": True,
    }
    rules = json_schema.rules_of(wanted)
    for name in named:
        assert accepts(rules, compact({name: None}))
        for spelt in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
            assert not accepts(rules, f"{{{spelt}:1}}")
    assert not accepts(rules, '{"\\u0061":1}')
    for key in ("abc", "b", "b'c", "c", "ét", "étés", 'c"\n', "Ab"):
        assert accepts(rules, compact({"a": None, key: 1})), key
    long = {"properties": {f"{n}-{'x' * 500}": {} for n in range(99)}, "additionalProperties": True}
    assert len(written(json_schema.rules_of(long))) < 200_000
    assert not allows(long, {f"7-{'x' * 500}": 1, f"8-{'x' * 500}": 1, f"7-{'x' * 500} ": 1})
    assert allows(long, {"y": 1})


def test_odd_schemas_are_refused_in_our_words() -> None:
    dice = random.Random(7)
    keys = [
        "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "$ref", "$id",
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "minProperties", "maxProperties", "dependencies", "dependentRequired", "items",
        "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minLength", "maxLength",
        "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
        "multipleOf", "type", "$defs", "nullable", "additionalItems", "unknown",
    ]  # fmt: skip
    odd: list[object] = [
        None, True, False, 0, -1, 3, 2.5, 1e30, 10**40, float("inf"), float("nan"), "", "string",
        "object", "array", "integer", "#", "#/$defs/a", "[", "a+", "date", "uuid", [], {}, [[]],
        [{}], ["string", "null"], ["a"], [1], ["a", "a"], {"a": {}}, {"a": {"type": "string"}},
        {"a": False}, {"a": []}, {"$ref": "#"}, {"$ref": "#/$defs/a"},
    ]  # fmt: skip

    def made(depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(dice.randint(1, 4)):
            value, roll = dice.choice(odd), dice.random()
            if depth < 3 and roll < 0.6:
                inner = [made(depth + 1) for _ in range(dice.randint(1, 2))]
                value = {"a": inner[0]} if roll < 0.1 else inner if roll < 0.3 else inner[0]
            found[dice.choice(keys)] = value
        return found

    accepted = 0
    for _ in range(600):
        text = json.dumps(made(0))
        try:
            compiled(Constraint("json_schema", text))
            accepted += 1
        except ConfigError:
            continue
    assert accepted > 10
    nested = json.dumps({"const": None}).replace("null", "[" * 900 + "]" * 900)
    compiled(Constraint("json_schema", nested))


def test_schemas_that_mean_billions_are_written_once() -> None:
    doubled = {
        f"d{n}": {"prefixItems": [{"$ref": f"#/$defs/d{n + 1}", "minItems": 1}] * 2}
        for n in range(28)
    }
    wanted = {"$ref": "#/$defs/d0", "$defs": {**doubled, "d28": {"type": "array"}}}
    assert len(written(json_schema.rules_of(json.loads(json.dumps(wanted))))) < 20_000


def test_schemas_of_strangers_stay_small() -> None:
    deep: object = {"type": "string"}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    with pytest.raises(ConfigError, match="deep"):
        json_schema.rules_of(deep)
    doubled: object = {"type": "string"}
    for _ in range(25):
        doubled = {"properties": {"a": doubled, "b": {"type": "null"}}}
    assert len(written(json_schema.rules_of(doubled))) < 20_000
    wide = {"properties": {f"p{number}": {"type": "null"} for number in range(20_000)}}
    with pytest.raises(ConfigError, match="at most 20,000 parts"):
        json_schema.rules_of(wide)
    with pytest.raises(ConfigError, match="told apart"):
        json_schema.rules_of({"oneOf": [{"properties": {f"p{n}": {}}} for n in range(300)]})
    hostile = {"allOf": [{"pattern": f"^[ab]*(a[ab]{{{n}}}|c)$"} for n in range(5, 16)]}
    with pytest.raises(ConfigError, match="at most 2,000 states"):
        json_schema.rules_of(hostile)


KEPT: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = [
    ({"id": "x", "_format": 1, "self": {"a": 1}, "ui:order": [], "xml": {}, "type": "null"},
     (None,), (1,)),
    ({"type": "string", "allOf": [{"pattern": "^[a-z]+$"}, {"pattern": "^a.*z$"}]},
     ("abz", "az"), ("abc", "a1z")),
    ({"pattern": "(ab){2,}", "maxLength": 9}, ("abab", "abababab"), ("ab", "ab" * 5)),
    ({"pattern": "^x-"}, ("x-", "x-a"), ("y",)),
    ({"type": "object", "patternProperties": {"^x-[a-z]*$": {"type": "integer"}},
      "additionalProperties": {"type": "null"}, "properties": {"q": {"type": "string"}}},
     ({"q": "s", "x-a": 1, "zz": None}, {}), ({"zz": 1}, {"x-a": None}, {"q": 1})),
    ({"type": "object", "patternProperties": {"^a": {"minimum": 2}, "b$": {"maximum": 4}}},
     ({"ac": 9, "cb": 1},), ({"ac": 1}, {"cb": 5}, {"ab": 9})),
    ({"type": "object", "properties": {"ab": {"type": "integer"}},
      "patternProperties": {"^a": {"minimum": 2}}}, ({"ab": 2},), ({"ab": 1},)),
    ({"oneOf": [{"required": ["a"], "properties": {"a": {}}},
                {"required": ["b"], "properties": {"b": {}}}]},
     ({"a": 1}, {"b": 2}), ({"a": 1, "b": 2}, {})),
    ({"oneOf": [{"properties": {"k": {"const": "x"}, "v": {"type": "string"}}, "required": ["k"]},
                {"properties": {"k": {"const": "y"}, "v": {"type": "null"}}, "required": ["k"]}]},
     ({"k": "x", "v": "s"}, {"k": "y"}), ({"k": "x", "v": None}, {"k": "z"})),
    ({"oneOf": [{"type": "integer", "minimum": 3}, {"type": "integer", "maximum": 5}]},
     (2, 6), (3, 4, 5)),
    ({"oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, ("a", "c"), ("b",)),
    ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
     ("a", [], ["b"]), (1, [1])),
    ({"oneOf": [{"type": "array", "items": {"type": "string"}},
                {"type": "array", "items": {"type": "null"}}]}, (["a"], [None]), ([], [1])),
    ({"not": {"type": "string"}}, (1, {}, [], None), ("a",)),
    ({"type": "string", "not": {"enum": ["a", "b"]}}, ("c", "", "ab"), ("a", "b")),
    ({"type": "string", "not": {"pattern": "^a"}}, ("b", "ba"), ("a", "ab")),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a", "b"]}},
     ({"b": 1}, {}), ({"a": 1, "b": 2},)),
    ({"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"required": ["b"]},
      "properties": {"a": {"enum": [1, 2]}, "b": {}}, "type": "object"},
     ({"a": 1, "b": 2}, {"a": 2}, {}), ({"a": 1},)),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "dependencies": {"a": ["b"]}},
     ({"a": 1, "b": 2}, {"b": 1}, {}), ({"a": 1},)),
    ({"type": "object", "minProperties": 1, "properties": {"a": {}, "b": {}}},
     ({"a": 1}, {"b": 1}), ({},)),
    ({"type": "object", "maxProperties": 1, "properties": {"a": {}, "b": {}}},
     ({"a": 1}, {}), ({"a": 1, "b": 1},)),
    ({"type": "object", "propertyNames": {"pattern": "^[a-z]{2}$"}}, ({"ab": 1},), ({"abc": 1},)),
    ({"type": "integer", "multipleOf": 7, "minimum": 0}, (0, 7, 21), (8, -7)),
    ({"type": "number", "multipleOf": 0.01}, (0.25, 1, -3.5), (0.255,)),
    ({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2},
     ([1, 3], [1, 2, 3]), ([1, 1], [1], [1, 4])),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 1}, ([], [None]), ([None, None],)),
    ({"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 1},
     ({}, {"a": None}), ({"a": None, "b": None},)),
    ({"type": "object", "properties": {"a": {}}, "additionalProperties": {}, "maxProperties": 0},
     ({},), ({"a": 1}, {"b": 1})),
    ({"type": "string", "maxLength": 0}, ("",), ("a",)),
    ({"type": "string", "pattern": "^a{0}b{0,0}c$"}, ("c",), ("ac", "bc")),
    ({"type": "array", "contains": {"const": 1}}, ([1, 2],), ([2], [])),
    ({"type": "array", "prefixItems": [{}], "maxItems": 0}, ([],), ([1],)),
    ({"$defs": {"a": {"$anchor": "n", "type": "null"}}, "$ref": "#n"}, (None,), (1,)),
    ({"$id": "http://a/b.json", "properties": {"x": {"$ref": "c.json"}},
      "$defs": {"c": {"$id": "c.json", "type": "null"}}}, ({"x": None},), ({"x": 1},)),
    ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, (2, 1.5), (1, 0)),
    ({"properties": {"a": {"type": "null", "required": True}}}, ({"a": None},), ({},)),
    ({"type": "string", "maxLength": 2500}, ("é" * 2500, ""), ("a" * 2501,)),
    ({"enum": ["é", 1, {"a": [1, "→"]}]}, ("é", 1), ("e", 1.5)),
]  # fmt: skip


@functools.cache
def byte_vocabulary() -> Any:
    llguidance = pytest.importorskip("llguidance")

    class Vocabulary:
        eos_token_id, bos_token_id = 256, None

        def __init__(self) -> None:
            self.special_token_ids = [256]
            self.tokens = [*(bytes([byte]) for byte in range(256)), b"\xff<end>"]

        def __call__(self, text: bytes | str) -> list[int]:
            return list(text if isinstance(text, bytes) else text.encode())

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Vocabulary()), eos_token=[256])


def followed(grammar: Grammar, text: str) -> bool:
    """Whether llguidance allows a whole text."""
    vocabulary = byte_vocabulary()
    import llguidance

    made = llguidance.LLMatcher.grammar_from_lark(grammar.write("lark"))
    matcher = llguidance.LLMatcher(vocabulary, made, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    spelt = list(text.encode())
    return matcher.try_consume_tokens(spelt) == len(spelt) and bool(matcher.is_accepting())


@pytest.mark.parametrize("wanted", KEPT, ids=lambda case: json.dumps(case[0])[:60])
def test_what_a_schema_allows_is_the_same_for_both_engines(wanted: Any) -> None:
    schema, allowed, others = wanted
    jsonschema = pytest.importorskip("jsonschema")
    grammar = compiled(Constraint("json_schema", json.dumps(schema)))
    for value in (*allowed, *others):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        meant = value in allowed and not isinstance(value, bool)
        assert accepts(grammar.rules, text) == meant, text
        assert followed(grammar, text) == meant, text
        if "$anchor" not in str(schema) and "True}" not in str(schema):
            assert jsonschema.Draft202012Validator(schema).is_valid(value) or not meant


@pytest.mark.parametrize(
    ("expression", "matched", "others"),
    [
        (r"\p{L}+", ("é", "Straße"), ("1", "")),
        (r"\P{L}\pN", ("-1", "11"), ("a1",)),
        (r"[^\p{Lu}]", ("a", "1"), ("A",)),
        ("[[:alpha:]]+", ("ab",), ("é", "1")),
        ("[[:^digit:]-]", ("a", "-"), ("1",)),
        ("(?i)aß[c-d]", ("Aßd", "aßC"), ("ab",)),
        ("(?i:a)b", ("Ab",), ("AB",)),
        ("a{2500}b?", ("a" * 2500,), ("a" * 2499,)),
        ("a{5,2100}", ("a" * 5, "a" * 1001, "a" * 2100), ("a" * 4, "a" * 2101)),
        ("(^a|^b)$", ("a",), ("ab",)),
    ],
)
def test_expressions_are_the_same_for_both_engines(
    expression: str, matched: tuple[str, ...], others: tuple[str, ...]
) -> None:
    grammar = compiled(Constraint("regex", expression))
    for text in (*matched, *others):
        assert Automaton(regex.read(expression)).matches(text) == (text in matched)
        assert followed(grammar, text) == (text in matched)
        assert accepts(grammar.rules, text) == (text in matched)


PASSAGES: list[tuple[Any, list[list[str]]]] = [  # what is never cut, as a reader would say it
    ("words", [["A", " ", "cat's", " ", "3.14", " ", "or", " ", "-2", "\n", "or", " ", "or", "."]]),
    ("words", [["été", " ", '"', "a\\b", '"', "\t", "x"], ["x", " ", "été", "?"]]),
    ("sentences", [["He came.", " ", "He saw 3.5 cm!", "\n\n", "A heading", "\n\n",
                    '"He came."', " ", "He came."]]),
    ("characters", [list("aab\u00e9\nab"), list(' "ab')]),
]  # fmt: skip


@pytest.mark.parametrize(("units", "passages"), PASSAGES)
def test_quotations_are_runs_of_whole_units(units: Any, passages: list[list[str]]) -> None:
    """Alone and within a document, for both engines."""
    texts = ["".join(pieces) for pieces in passages]
    every = {
        "".join(pieces[start:end])
        for pieces in passages
        for end in range(len(pieces) + 1)
        for start in range(end)
    }
    meant = {text for text in every if units == "characters" or text == text.strip()}
    tried = {text[a:b] for text in texts for b in range(len(text) + 1) for a in range(b + 1)}
    tried |= {text + more for text in meant for more in ("x", " ", text)} | {"".join(texts)}
    tried = meant | set(sorted(tried)[:: 1 + len(tried) // 60])
    alone = compiled(Constraint.substring(*texts, units=units))
    quote = {"type": "string", "x-substring-of": texts, "x-substring-units": units}
    wanted = {"type": "object", "properties": {"q": quote}, "required": ["q"]}
    inside = compiled(Constraint("json_schema", json.dumps(wanted)))
    for text in sorted(tried):
        own = text in meant
        assert accepts(alone.plain_rules, text) == followed(alone, text) == own, text
        document = json.dumps({"q": text}, ensure_ascii=False, separators=(",", ":"))
        assert accepts(inside.plain_rules, document) == followed(inside, document) == own, document


def test_quotations_beside_other_keywords() -> None:
    quote: dict[str, Any] = {
        "type": "string", "x-substring-of": "one two three two", "minLength": 5
    }  # fmt: skip
    for more, allowed, refused in (
        ({}, ("three", "one two"), ("two", "one t", "threes")),
        ({"pattern": "two$"}, ("one two", "three two"), ("three",)),
        ({"not": {"enum": ["three"]}}, ("one two",), ("three",)),
        ({"enum": ["three", "four "]}, ("three",), ("four ",)),
    ):
        grammar = compiled(Constraint("json_schema", json.dumps({**quote, **more})))
        for text in (*allowed, *refused):
            document = json.dumps(text)
            own = text in allowed
            assert accepts(grammar.rules, document) == followed(grammar, document) == own, text
    del quote["minLength"]
    with pytest.raises(ConfigError, match="told apart"):
        compiled(Constraint("json_schema", json.dumps({"not": quote})))


@pytest.mark.parametrize(
    ("passages", "units", "told"),
    [
        (["  "], "words", "a text to quote from"), ([], "words", "a text to quote from"),
        (["a"], "lines", "must be one of words"), (["a\0"], "words", "control characters"),
        (["\ud800"], "words", "control characters"), ([3], "words", "a list of texts"),
        (["a" * 12_001], "words", "at most 12,000 characters"),
        (["a " * 1500], "characters", "states"),
    ],
)  # fmt: skip
def test_passages_that_nothing_is_quoted_from(passages: Any, units: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        compiled(Constraint.substring(*passages, units=units))


_FORM = {"kind": "json_schema", "value": '{"properties": {"n": {"type": "integer"}}}'}
_ONE = '{"name":"f","arguments":{"a":1}}'
_TAGGED = f"<tool_call>\n{_ONE}\n</tool_call>"
ANSWERS: list[tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = [
    ({"entered": True}, (f"{_ONE}\n</tool_call>", f"{_ONE}</tool_call>\n{_TAGGED}"),
     (_ONE, _TAGGED, f"{_ONE}\n</tool_call>{_TAGGED}{_TAGGED}{_TAGGED}", "x", "")),
    ({"entered": True, "most": 1}, (_ONE,), (f"{_ONE}\n</tool_call>", "")),
    ({}, (_TAGGED, _TAGGED + _TAGGED), ("x", "", _ONE, f"x{_TAGGED}")),
    ({"otherwise": "text"}, ("", "I <look> {for} <tool", _TAGGED, f"I look: {_TAGGED}\n{_TAGGED}"),
     ("<tool_call>x</tool_call>", f"{_TAGGED}x", "a<tool_call>", f"a<tool_call>{_TAGGED}")),
    ({"otherwise": _FORM}, ('{"n":1}', _TAGGED, "{}"), ("x", f'{{"n":1}}{_TAGGED}', "")),
    ({"otherwise": {"kind": "regex", "value": "[a-z]+"}}, ("yes", _TAGGED), ("", "1")),
    ({"opening": "", "otherwise": _FORM}, ('{"n":1}', _ONE), (_TAGGED, "x", f"{_ONE}{_ONE}")),
    ({"opening": "", "otherwise": "text"}, (_ONE, "", "It is {so}", "\n a"),
     ('{"n":1}', " {", "[")),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "allowed", "others"), ANSWERS)
def test_an_answer_is_calls_or_what_else_it_may_be(
    asked: dict[str, Any], allowed: tuple[str, ...], others: tuple[str, ...]
) -> None:
    call = {
        "type": "object", "required": ["name", "arguments"], "additionalProperties": False,
        "properties": {"name": {"const": "f"}, "arguments": {
            "type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}},
    }  # fmt: skip
    usual = {"calls": call, "opening": "<tool_call>", "closing": "</tool_call>", "most": 3,
             "entered": False, "otherwise": None}  # fmt: skip
    grammar = compiled(Constraint("tools", json.dumps(usual | asked)))
    for text in (*allowed, *others):
        assert accepts(grammar.rules, text) == (text in allowed), text
        assert followed(grammar, text) == (text in allowed), text
    assert "\nroot ::=" in "\n" + grammar.write("gbnf_in_bytes")


def test_json_is_written_compactly() -> None:
    wanted = {"type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]}
    for more, spaces in (({}, False), ({"x-whitespace": "compact"}, False),
                         ({"x-whitespace": "spaces"}, True)):  # fmt: skip
        grammar = compiled(Constraint("json_schema", json.dumps(wanted | more)))
        for text, meant in (('{"a":[1,2]}', True), ('{"a": [1, 2]}', spaces), ('{ "a":[]}', False),
                            ('{"a":  []}', False), ('{"a":[]\n}', False)):  # fmt: skip
            assert accepts(grammar.rules, text) == followed(grammar, text) == meant
    with pytest.raises(ConfigError, match="x-whitespace must be"):
        compiled(Constraint("json_schema", '{"x-whitespace": "\\n"}'))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("json_schema", "{", "must be JSON"),
        ("json_schema", "[]", "must be an object"),
        ("json_schema", '{"type": "banana"}', "type must be one of"),
        ("json_schema", '{"not":' * 80 + "{}" + "}" * 80, "deep"),
        ("json_schema", '{"items":' * 80 + "{}" + "}" * 80, "deep"),
        ("json_schema", "[" * 50_000, "must be"),
        ("regex", "(", "never closed"),
        ("regex", "(a{1000}){1000}{1000}", "times in all"),
        ("choice", "[]", "list of 1 to"),
        ("choice", '["a", 3]', "list of 1 to"),
        ("choice", '"yes"', "list of 1 to"),
        ("grammar", "start ::= x", "must have a rule 'root'"),
        ("grammar", r'root ::= "\ud800"', "names a character"),
        ("grammar", "root ::= root", "text that ends"),
        ("grammar", "\n".join(f"r{n} ::= r{n + 1}" for n in range(600)), "a rule 'root'"),
    ],
)
def test_rules_that_cannot_be_followed(kind: Any, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compiled(Constraint(kind, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_as_many_choices_as_are_allowed() -> None:
    choices = [f"the {number} foxes" for number in range(MOST_CHOICES)]
    grammar = compiled(Constraint("choice", json.dumps(choices)))
    assert followed(grammar, choices[-1])
    with pytest.raises(ConfigError, match="list of 1 to 4096"):
        compiled(Constraint("choice", json.dumps([*choices, "x"])))


def test_constraints_are_compiled_where_they_hold_nobody_up(monkeypatch: Any) -> None:
    wide = {"properties": {f"p{number}": {"type": "null"} for number in range(9_000)}}
    hostile = Constraint("json_schema", json.dumps(wide))
    kind = Constraint("choice", '["a", "\u00e9"]')
    assert compiler.written(kind, "lark") == compiled(kind).write("lark")
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 0.2)
    begun = time.thread_time()
    with pytest.raises(ConfigError, match=r"this json_schema cannot be .* than 0\.2 seconds"):
        compiler.written(hostile, "gbnf")
    assert time.thread_time() - begun < 0.15  # this thread waited, without Python's lock
    for notation in ("gbnf", "gbnf_in_bytes", "lark"):
        assert compiler.written(kind, notation) == compiled(kind).write(notation)
    with pytest.raises(ConfigError, match="never closed"):
        compiler.written(Constraint("regex", "("), "lark")


def test_a_process_that_compiles_without_end_is_ended(monkeypatch: Any) -> None:
    monkeypatch.setattr(compiler.confined, "GRACE_SECONDS", 0.0)
    wide = Constraint(
        "json_schema", json.dumps({"properties": {f"p{n}": {} for n in range(9_000)}})
    )
    monkeypatch.setattr(compiler, "COMPILE_SECONDS", 0.2)
    monkeypatch.setattr(compiler, "_WAIT_FACTOR", 0.1)
    with pytest.raises(ConfigError, match="cannot be compiled"):
        compiler.written(wide, "gbnf")
    monkeypatch.undo()
    assert compiler.written(Constraint("regex", "a"), "gbnf")
