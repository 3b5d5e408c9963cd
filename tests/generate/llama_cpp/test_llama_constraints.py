"""Texts that llama.cpp writes by a constraint, of a model that knows nothing."""

import json
import re
from collections.abc import Iterator

import pytest
from tiny_models import MakeModel

from linnet.errors import ConfigError
from linnet.generate import Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.engines import EngineConfig
from linnet.generate.llama_cpp import LlamaCppEngine, open_checkpoint

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def engine(make_model: MakeModel) -> Iterator[LlamaCppEngine]:
    opened = open_checkpoint(
        make_model("llama", context=512), EngineConfig(precision="f32", threads=1, slots=4)
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
    "expression",
    # The last as schemas have it: many kinds of character, often, which llama.cpp once refused.
    [r"\d{3}-[a-f]+x", "(été|naïve|—){1,3}", "[à-ü]{3}", r"\S{4}", r"([^\n]|\n\w){4,255}"],
)
def test_texts_match_an_expression(expression: str, engine: LlamaCppEngine) -> None:
    for text in written(engine, Constraint("regex", expression)):
        assert re.fullmatch(expression, text), text


def test_texts_are_one_of_the_choices(engine: LlamaCppEngine) -> None:
    choices = ["yes", "no", "peut-être", 'a "quoted" one\n']
    for text in written(engine, Constraint("choice", json.dumps(choices))):
        assert text in choices


def test_texts_are_calls_or_of_a_form(engine: LlamaCppEngine) -> None:
    call = {"type": "object", "properties": {"name": {"const": "f"}}, "required": ["name"],
            "additionalProperties": False}  # fmt: skip
    form = {"kind": "choice", "value": '["yes", "no"]'}
    asked = {"calls": call, "opening": "<tool_call>", "closing": "</tool_call>", "most": 2,
             "entered": False, "otherwise": form}  # fmt: skip
    one = r'<tool_call>\n?\{"name":"f"\}\n?</tool_call>'
    for text in written(engine, Constraint("tools", json.dumps(asked))):
        assert re.fullmatch(rf"yes|no|{one}(\n?{one})?", text), text


def test_texts_are_quotations(engine: LlamaCppEngine) -> None:
    passage = 'L\'été, "naïve" — un chat.\nUn chat noir: 3.5 kg.'
    quote = {"type": "string", "x-substring-of": passage, "minLength": 4}
    wanted = {"type": "object", "properties": {"q": quote}, "required": ["q"]}
    found = written(engine, Constraint.substring(passage))
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        found.append(json.loads(text)["q"])
        assert len(found[-1]) >= 4
    for text in found:
        assert text in passage
        assert text == text.strip()


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
        {"type": "object", "additionalProperties": {"type": "boolean"},
         "propertyNames": {"maxLength": 3}, "maxProperties": 2},
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
    wanted = {"type": "object", "properties": dict.fromkeys(names, False),
              "additionalProperties": {"type": "null"}, "minProperties": 1, "maxProperties": 1,
              "propertyNames": {"maxLength": 4}}  # fmt: skip
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        assert not set(json.loads(text)) & set(names)


def test_patterns_together_and_characters_by_category_are_followed(engine: LlamaCppEngine) -> None:
    wanted = {"type": "string", "allOf": [{"pattern": "^[a-fé]+$"}, {"pattern": "é.*é$"}],
              "maxLength": 9}  # fmt: skip
    for text in written(engine, Constraint("json_schema", json.dumps(wanted))):
        assert re.fullmatch("(?=[a-fé]*é[a-fé]*é$)[a-fé]{2,9}", json.loads(text)), text
    for text in written(engine, Constraint("regex", r"(?i)x\p{Lu}{3}[[:digit:]]")):
        assert re.fullmatch(r"[xX]...[0-9]", text)
        assert text[1:4].isupper() or not text[1:4].isascii()


def test_constraints_that_cannot_be_followed(engine: LlamaCppEngine) -> None:
    for kind, value, told in (
        ("json_schema", "{", "must be JSON"),
        ("json_schema", "[]", "must be an object"),
        ("json_schema", json.dumps({"type": "nonsense"}), "type must be one of"),
        ("choice", "[]", "list of 1 to"),
        ("choice", '["a", 3]', "list of 1 to"),
        ("regex", "(?=a)", "expected a regular expression"),
        ("grammar", "nonsense", "must have"),
    ):
        with pytest.raises(ConfigError, match=told):
            list(engine.stream(Request("The", constraint=Constraint(kind, value))))  # type: ignore[arg-type]
    assert engine.generate([Request("The", Sampling(max_tokens=3))])[0].tokens
