"""What a text must be: expressions against ``re``, ranges against UTF-8, and whole texts."""

import datetime
import json
import random
import re
from collections.abc import Iterator

import pytest
from tiny_models import MakeModel

from linnet.errors import ConfigError
from linnet.generate import Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.llama_cpp import (
    LlamaCppEngine,
    ServingConfig,
    gbnf,
    open_checkpoint,
    regex,
    schema,
)
from linnet.generate.llama_cpp.constraints import grammar_of
from linnet.generate.llama_cpp.json_values import free_key
from linnet.generate.llama_cpp.numerals import integers, numbers
from linnet.generate.llama_cpp.pattern import (
    HIGHEST,
    Characters,
    Either,
    Pattern,
    Repeated,
    Rule,
    Sequenced,
    Text,
    as_grammar,
    byte_sequences,
    characters,
)

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

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
        case Rule(name):
            raise AssertionError(name)


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
        ("a{5000}", "more than 1,000"), ("[z-a]", "before it begins"), ("[a", "never closed"),
        ("(?i)a", "'"), ("a^b", "in the middle"), ("(?<=a)b", "look behind"),
        ("[[:alpha:]]", "class"),
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
    assert gbnf.read(as_grammar(rules, in_bytes=False)) == rules
    spelt = as_grammar({"root": Text("é")}, in_bytes=True)
    assert spelt == 'root ::= "\\xC3\\xA9"'
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


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"type": "string", "format": "date", "not": {}}, "'not' is not supported"),
        ({"$ref": "other.json"}, "itself only"),
        ({"$ref": "#/$defs/x"}, "which it has not"),
        ({"$ref": "#"}, "without end"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "between 3 and 2"),
        ({"type": "integer", "minimum": "3"}, "must be a number"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "at least its"),
        ({"type": "string", "minLength": 10**9}, "at most"),
        ({"type": "string", "pattern": "(?=a)"}, "regular expression"),
        ({"required": ["a"], "additionalProperties": False}, "does not allow"),
        ({"enum": []}, "must be a list"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "two kinds"),
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
        ({"properties": ["a"], "$ref": ""}, "must be an object"),
        ({"$ref": 2.5, "minimum": 1}, "itself only"),
        ({"$ref": "#name"}, "itself only"),
        ({"type": []}, "type must be one of"),
        ({"enum": [float("nan")]}, "NaN"),
        ({"enum": ["a"], "type": "integer"}, "of its type"),
        ({"enum": ["a", 3], "minLength": 2, "allOf": [{"maximum": 2}]}, "and bounds"),
        ({"type": "array", "prefixItems": [{}], "maxItems": 0}, "at most 0 items"),
        ({"pattern": 3, "type": "string"}, "must be a text"),
        ({"format": "date", "maxLength": 9}, "maxLength .* Got 9"),
        ({"format": "date-time", "minLength": 30}, "minLength .* Got 30"),
        ({"pattern": "(ab){2,}", "maxLength": 9}, "maxLength .* Got 9"),
        ({"pattern": "^a{5,}$", "maxLength": 4}, "maxLength .* Got 4"),
        ({"properties": {"a": False}, "required": ["a"]}, "does not allow"),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "string"}}},
                    {"properties": {"a": {"type": "null"}}},
                ]
            },
            "two kinds of 'type'",
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "required": ["a"]},
                    {"additionalProperties": False},
                ]
            },
            "does not allow",
        ),
        ({"allOf": [{"items": {"type": "null"}}, {"prefixItems": [{}]}]}, "two kinds of 'items'"),
        ({"allOf": [{"enum": [1]}, {"enum": [2]}]}, "two kinds of 'enum'"),
    ],
)
def test_schemas_that_cannot_be_kept(wrong: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        schema.rules_of(wrong)


def accepts(rules: dict[str, Pattern], text: str) -> bool:
    """Whether these rules allow a text, by trying all that they can."""

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


def allows(wanted: object, value: object) -> bool:
    return accepts(schema.rules_of(wanted), json.dumps(value))


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
    assert len(as_grammar(schema.rules_of(wanted), in_bytes=True)) < 10_000


def test_dates_are_those_of_the_calendar() -> None:
    (pattern,) = (
        part
        for part in schema.rules_of({"type": "string", "format": "date"})["root"].parts  # type: ignore[union-attr]
        if not isinstance(part, Text)
    )
    expression = re.compile(expression_of(pattern))
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
    rules = schema.rules_of(wanted)
    for name in named:
        assert accepts(rules, json.dumps({name: None}, ensure_ascii=False))
        for spelt in (json.dumps(name), json.dumps(name, ensure_ascii=False)):
            assert not accepts(rules, f"{{{spelt}:1}}")
    assert not accepts(rules, '{"\\u0061":1}')
    for key in ("abc", "b", "b'c", "c", "ét", "étés", 'c"\n', "Ab"):
        assert accepts(rules, json.dumps({"a": None, key: 1}, ensure_ascii=False)), key
    long = {"properties": {f"{n}-{'x' * 500}": {} for n in range(99)}, "additionalProperties": True}
    assert len(as_grammar(schema.rules_of(long), in_bytes=True)) < 200_000
    assert not allows(long, {f"7-{'x' * 500}": 1, f"8-{'x' * 500}": 1, f"7-{'x' * 500} ": 1})
    assert allows(long, {"y": 1})


def test_odd_schemas_are_refused_in_our_words() -> None:
    dice = random.Random(7)
    keys = [*schema._KNOWN, "type", "$defs", "nullable", "additionalItems"]
    keys.sort()
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
            grammar_of(Constraint("json_schema", text), in_bytes=True)
            accepted += 1
        except ConfigError:
            continue
    assert accepted > 10
    nested = json.dumps({"const": None}).replace("null", "[" * 900 + "]" * 900)
    grammar_of(Constraint("json_schema", nested), in_bytes=True)


def test_schemas_that_mean_billions_are_refused() -> None:
    doubled = {
        f"d{n}": {"prefixItems": [{"$ref": f"#/$defs/d{n + 1}", "minItems": 1}] * 2}
        for n in range(28)
    }
    with pytest.raises(ConfigError, match="at most 50,000 parts"):
        schema.rules_of({"$ref": "#/$defs/d0", "$defs": {**doubled, "d28": {"type": "array"}}})


def test_schemas_of_strangers_stay_small() -> None:
    deep: object = {"type": "string"}
    for _ in range(200):
        deep = {"type": "array", "items": deep}
    with pytest.raises(ConfigError, match="deep"):
        schema.rules_of(deep)
    doubled: object = {"type": "string"}
    for _ in range(25):
        doubled = {"properties": {"a": doubled, "b": {"type": "null"}}}
    assert len(as_grammar(schema.rules_of(doubled), in_bytes=True)) < 20_000
    wide = {"properties": {f"p{number}": {"type": "null"} for number in range(5000)}}
    with pytest.raises(ConfigError, match="at most 5,000 rules"):
        schema.rules_of(wide)


@pytest.fixture(scope="module")
def engine(make_model: MakeModel) -> Iterator[LlamaCppEngine]:
    opened = open_checkpoint(
        make_model("llama", context=512), ServingConfig(precision="f32", threads=1, slots=4)
    )
    yield opened
    opened.close()


def written(engine: LlamaCppEngine, constraint: Constraint) -> list[str]:
    """Texts of a model that knows nothing; those that ended by themselves."""
    requests = [
        Request("The", Sampling(max_tokens=400, temperature=1.0, seed=seed), constraint=constraint)
        for seed in range(6)
    ]
    found = engine.generate(requests)
    done = [completion.text for completion in found if completion.finish_reason == "stop"]
    assert done
    return done


@pytest.mark.parametrize(
    "expression", [r"\d{3}-[a-f]+x", "(été|naïve|—){1,3}", "[à-ü]{3}", r"\S{4}"]
)
def test_texts_match_an_expression(expression: str, engine: LlamaCppEngine) -> None:
    for text in written(engine, Constraint("regex", expression)):
        assert re.fullmatch(expression, text), text


def test_texts_are_one_of_the_choices(engine: LlamaCppEngine) -> None:
    choices = ["yes", "no", "peut-être", 'a "quoted" one\n']
    for text in written(engine, Constraint("choice", json.dumps(choices))):
        assert text in choices


def test_texts_follow_a_grammar(engine: LlamaCppEngine) -> None:
    grammar = 'root ::= pair (", " pair){0,2}\npair ::= [a-c] " → " [^a-z\\n]'
    for text in written(engine, Constraint("grammar", grammar)):
        assert re.fullmatch(r"[a-c] → [^a-z\n](, [a-c] → [^a-z\n]){0,2}", text), text


def test_texts_are_documents_of_a_schema(engine: LlamaCppEngine) -> None:
    wanted = {
        "type": "object",
        "properties": {
            "naïve": {"type": "boolean"},
            "kind": {"enum": ["été", "hiver"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 99},
            "names": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 2},
        },
        "required": ["naïve", "kind", "count", "names"],
        "additionalProperties": False,
    }
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        document = json.loads(text)
        assert list(document) == ["naïve", "kind", "count", "names"]
        assert document["kind"] in ("été", "hiver")
        assert isinstance(document["naïve"], bool)
        assert 0 <= document["count"] <= 99
        assert len(document["names"]) <= 2
        assert not re.search(r"\s{23}", text)


@pytest.mark.parametrize(
    "wanted",
    [
        {"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "required": ["value"], "additionalProperties": False,
            "properties": {"left": {"$ref": "#/$defs/tree"}, "value": {"type": "integer"}}}}},
        {"$ref": "#/$defs/two", "maxLength": 3,
         "$defs": {"two": {"type": "string", "minLength": 2}}},
        {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}],
         "items": {"type": "number", "exclusiveMinimum": -1, "maximum": 2.5}, "maxItems": 4},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array",
         "items": [{"type": "null"}, {"enum": [1]}], "additionalItems": False},
        {"properties": {"a": {"type": "null"}}, "required": ["a", "b"], "type": "object"},
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "pattern": '^"é+$'}]},
        {"type": "object", "properties": {"a": {"type": "null"}, "b": {"const": [1, "→"]}}},
        {"type": ["null", "string"], "minLength": 2, "maxLength": 3},
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        {"allOf": [{"properties": {"a": {"enum": [1]}}}, {"properties": {"b": {"type": "null"}}}],
         "type": "object", "required": ["a"]},
        {"type": "integer", "minimum": -(2**53) + 1, "maximum": 2**53 - 1},
    ],
    ids=["recursion", "beside", "tuple", "older", "required", "choice", "optional", "length",
         "map", "all", "safe"],
)  # fmt: skip
def test_documents_are_valid(wanted: dict[str, object], engine: LlamaCppEngine) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        jsonschema.validate(json.loads(text), wanted)


def test_other_keys_are_followed(engine: LlamaCppEngine) -> None:
    names = ["", "a", "time", 'b"', "été"]
    rules: dict[str, Pattern] = {"root": Text(""), "character": Text("é")}

    def named(pattern: Pattern) -> Rule:
        rules[f"part-{len(rules)}"] = pattern
        return Rule(list(rules)[-1])

    rules["root"] = free_key(names, named)
    grammar = as_grammar(rules, in_bytes=False).replace("character*", "character{0,2}")
    for text in written(engine, Constraint("grammar", grammar)):
        assert json.loads(text) not in names


def test_constraints_that_cannot_be_followed(engine: LlamaCppEngine) -> None:
    for kind, value, told in (
        ("json_schema", "{", "must be JSON"),
        ("json_schema", "[]", "must be an object"),
        ("json_schema", json.dumps({"type": "nonsense"}), "type must be one of"),
        ("choice", "[]", "at least one"),
        ("choice", '["a", 3]', "list of texts"),
        ("regex", "(?=a)", "expected a regular expression"),
        ("grammar", "nonsense", "must have"),
    ):
        with pytest.raises(ConfigError, match=told):
            list(engine.stream(Request("The", constraint=Constraint(kind, value))))  # type: ignore[arg-type]
    assert engine.generate([Request("The", Sampling(max_tokens=3))])[0].tokens
