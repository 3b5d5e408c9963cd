"""What a text must be: expressions against ``re``, ranges against UTF-8, and whole texts."""

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
    ],
)
def test_schemas_that_cannot_be_kept(wrong: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        schema.rules_of(wrong)


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
    ],
    ids=["recursion", "beside", "tuple", "older", "required", "choice", "optional", "length",
         "map", "all"],
)  # fmt: skip
def test_documents_are_valid(wanted: dict[str, object], engine: LlamaCppEngine) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        jsonschema.validate(json.loads(text), wanted)


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
