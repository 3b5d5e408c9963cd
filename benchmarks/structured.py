"""How answers of a small model that must be JSON, or calls of tools, come out.

    python benchmarks/structured.py MODEL [--every 1] [--tokens 256] [--calls 20]

For 40 schemas of everyday records: how many answers end within so many tokens, and how much of
them is white space, compact (the default) and with ``x-whitespace: spaces`` (what it was before),
alternating in one run. Then how many of so many answers under ``required`` to a question that asks
for two calls have two. Greedy for the schemas, temperature 0.7 for the calls.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any

from linnet import respond
from linnet.generate import Request, Sampling
from linnet.generate.constraint import COMPACT, SPACES, WHITESPACE, Constraint

TEXT, NUMBER, WHOLE = {"type": "string"}, {"type": "number"}, {"type": "integer"}
FLAG = {"type": "boolean"}


def several(entry: Any) -> dict[str, Any]:
    return {"type": "array", "items": entry}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}  # fmt: skip


RECORDS = {
    "person": record(name=TEXT, age=WHOLE, email={**TEXT, "format": "email"}, city=TEXT),
    "recipe": record(title=TEXT, ingredients=several(TEXT), steps=several(TEXT), minutes=WHOLE),
    "invoice": record(number=TEXT, date={**TEXT, "format": "date"}, total=NUMBER,
                      lines=several(record(item=TEXT, price=NUMBER, count=WHOLE))),
    "film review": record(film=TEXT, rating={"enum": [1, 2, 3, 4, 5]}, review=TEXT),
    "weather report": record(place=TEXT, temperature=NUMBER, summary=TEXT,
                             wind=record(speed=NUMBER, direction={"enum": ["N", "E", "S", "W"]})),
    "to-do list": record(tasks=several(record(task=TEXT, done=FLAG))),
    "book": record(title=TEXT, authors=several(TEXT), year=WHOLE, publisher=TEXT, isbn=TEXT),
    "support ticket": record(subject=TEXT, body=TEXT, tags=several(TEXT),
                             priority={"enum": ["low", "medium", "high"]}),
    "football match": record(home=TEXT, away=TEXT, score=record(home=WHOLE, away=WHOLE)),
    "train journey": record(origin=TEXT, stops=several(record(station=TEXT, time=TEXT))),
    "planet": record(name=TEXT, mass=NUMBER, moons=several(TEXT), habitable=FLAG),
    "job": record(title=TEXT, skills=several(TEXT), salary=record(least=WHOLE, most=WHOLE)),
    "poem": record(title=TEXT, lines=several(TEXT)),
    "patient": record(name=TEXT, symptoms=several(TEXT), diagnosis=TEXT),
    "bird": record(species=TEXT, wingspan=NUMBER, colours=several(TEXT), sings=FLAG),
    "shopping cart": record(items=several(record(name=TEXT, count=WHOLE, price=NUMBER))),
    "meeting": record(topic=TEXT, people=several(TEXT), decisions=several(TEXT)),
    "country": record(name=TEXT, capital=TEXT, population=WHOLE, languages=several(TEXT)),
    "program": record(language=TEXT, purpose=TEXT, code=TEXT),
    "address": record(street=TEXT, number=TEXT, postcode=TEXT, town=TEXT),
}  # fmt: skip
SCHEMAS = [
    *RECORDS.items(),
    *((f"list of three: {name}", record(entries=several(own)))
      for name, own in list(RECORDS.items())[:10]),
    *((name, {"type": "object"}) for name in list(RECORDS)[10:15]),
    *((name, {"type": "object", "properties": {"name": TEXT, "details": {}}, "required": ["name"]})
      for name in list(RECORDS)[15:]),
]  # fmt: skip
WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather in a city",
    "parameters": record(city={**TEXT, "maxLength": 20}),
}}  # fmt: skip
QUESTION = "What is the weather in Ulm and in Paris? Call weather twice, once for each city."


def endings(engine: Any, *, every: int, tokens: int) -> None:
    chosen = SCHEMAS[::every]
    for spelling in (SPACES, COMPACT):
        begun = time.process_time()
        requests = [
            Request(
                engine.chat_prompt(
                    [{"role": "user", "content": f"Describe this as JSON: a {topic}."}]
                ),
                Sampling(temperature=0.0, max_tokens=tokens),
                constraint=Constraint("json_schema", json.dumps({**schema, WHITESPACE: spelling})),
            )
            for topic, schema in chosen
        ]
        found = engine.generate(requests)
        ended = [each for each in found if each.finish_reason == "stop"]
        for each in ended:
            json.loads(each.text)
        texts = "".join(each.text for each in found)
        strings = re.sub(r'"(?:[^"\\]|\\.)*"?', "", texts)
        print(
            f"{spelling}: {len(ended)} of {len(found)} end within {tokens} tokens; "
            f"{sum(len(each.tokens) for each in found)} tokens, {len(texts)} characters, white "
            f"space {sum(map(str.isspace, texts)) / len(texts):.1%}, between strings "
            f"{sum(map(str.isspace, strings)) / len(texts):.1%}; "
            f"{time.process_time() - begun:.0f} s here",
            flush=True,
        )
        for (topic, _), each in zip(chosen, found, strict=True):
            if each.finish_reason != "stop":
                print(f"  not ended: {topic}: ...{each.text[-70:]!r}")


def calls(engine: Any, count: int) -> None:
    responder = respond.EngineResponder(engine)
    asked = respond.conversation(
        [{"role": "user", "content": QUESTION}], [WEATHER], tool_choice="required", choices=count,
        sampling=Sampling(temperature=0.7, max_tokens=160, seed=0),
    )  # fmt: skip
    counts = [len(answer.tool_calls) for answer in respond.run(responder, asked)]
    two = sum(number > 1 for number in counts)
    print(f"required: {two} of {count} have two calls or more ({counts})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--calls", type=int, default=20)
    given = parser.parse_args()
    engine = respond.load(given.model).engine
    try:
        if given.calls:
            calls(engine, given.calls)
        endings(engine, every=given.every, tokens=given.tokens)
    finally:
        engine.close()


if __name__ == "__main__":
    main()
