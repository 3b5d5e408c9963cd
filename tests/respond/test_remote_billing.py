"""What a call to a model at an address is billed, whatever it tells of its counts."""

import dataclasses
import json
import socket
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_asked import ASKED, GOOD, JSON, LONG, Books, calls_of
from sentencepiece import SentencePieceProcessor
from tokenizers import ByteLevelBPETokenizer

from linnet import respond
from linnet.errors import ConfigError
from linnet.generate.sampling import Sampling
from linnet.respond import (
    Answer,
    BudgetExceededError,
    Context,
    Decision,
    Failure,
    Price,
    RemoteResponder,
    TokenBudget,
    conversation,
)
from linnet.respond.counts import MOST_TOKENS, Counts, most_prompt_tokens
from linnet.respond.dialect import Dialect
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities
from strangers import DONE, HEAD, PATIENCE, answer, call, delta, event, refusal, stranger, usage


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": -5, "completion_tokens": "many"}, (15, 2)),
        ({"prompt_tokens": True, "completion_tokens": 0}, (15, 2)),  # two events had text
        ({"prompt_tokens": 10**30, "completion_tokens": 3}, (MOST_TOKENS, 3)),
        ([1], (15, 2)),
    ],
)
def test_counts_may_be_lies(usage: Any, counts: tuple[int, int]) -> None:
    sent = HEAD + event(delta(content="a")) + event(delta("stop", content="b"))
    sent += event({"model": "other", "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    context = Context()
    with stranger(sent) as server:
        respond.run(RemoteResponder(server.url, "m"), ASKED, context)
    assert (context.record.tokens.prompt, context.record.tokens.written) == counts
    assert context.record.facts["remote_models"] == ["m", "other"]


def test_a_budget_is_reserved_before_anything_is_sent() -> None:
    with stranger(HEAD + GOOD) as server:
        far = RemoteResponder(server.url, "m")
        with pytest.raises(ConfigError, match="budget"):
            respond.run(far, ASKED, Context(budget=TokenBudget(100)))
        assert server.requests == []
        budget = TokenBudget(2000)
        respond.run(far, ASKED.replace(fill_context=True), Context(budget=budget))
        assert budget.left == 2000 - 9 - 30
        assert server.requests[0][2]["max_tokens"] == Sampling().max_tokens


PRICE = Price(prompt=10, cached=1, written=100)


@pytest.mark.parametrize(
    ("sent", "used", "cost", "told"),
    [
        (answer("It ", "is."), 9 + 5, 90 + 500, []),
        # In the last event with a choice; with every event; before the text.
        (HEAD + event({**delta("stop", content="It is."), **usage(9, 5, x=3), "choices": [
            {"delta": {"content": "It is."}, "finish_reason": "stop"}]}) + DONE, 14, 590, []),
        (HEAD + event({**delta(content="It"), "usage": {"prompt_tokens": 9,
                                                        "completion_tokens": 1}})
         + event({**delta("stop", content=" is."), "usage": {"prompt_tokens": 9,
                                                             "completion_tokens": 5}}) + DONE,
         14, 590, []),
        (HEAD + event(usage(9.0, 5.0)) + event(delta("stop", content="It is.")) + DONE,
         14, 590, []),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 5, prompt_tokens_details={"cached_tokens": 4})) + DONE,
         14, 5 * 10 + 4 + 500, []),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 500, completion_tokens_details={"reasoning_tokens": 495})),
         509, 90 + 50_000, ["at most 256 were allowed; theirs are counted"]),
        (HEAD + event(delta("stop", content="It is."))
         + event(usage(9, 5, prompt_tokens_details={"cached_tokens": 400})) + DONE,
         14, 9 + 500, ["read again than were read"]),
        # Missing: some more than likely.
        (answer("It ", "is.", counts=None), 15 + 3, 150 + 300, []),
        (HEAD + event(delta("stop", content="It is raining again. " * 4)) + DONE,
         15 + 42, 150 + 4200, []),
        (answer("It ", "is.", counts=(0, 0)), 18, 450, []),
        # Lies.
        (answer(*["It is. "] * 90, counts=(9, 3)), 9 + 256, 90 + 25_600,
         ["3 tokens were written, but the 630 bytes that came have at least 90; 256 are"]),
        (answer(*["It is. "] * 9, counts=(9, 3)), 9 + 32, 90 + 3200, ["have at least 9; 32 are"]),
        (answer("It ", "is.", counts=(90_000, 5)), 90_005, 900_000 + 500,
         ["90,000 tokens were read, but what was sent has at most"]),
        (answer("It ", "is.", counts=(9, 10**30)), 9 + MOST_TOKENS, 90 + 10**11,
         ["at most 256 were allowed"]),
    ],
)  # fmt: skip
def test_what_is_billed(sent: bytes, used: int, cost: int, told: list[str]) -> None:
    books, context = Books(), Context(key="anna")
    with stranger(sent) as server:
        far = RemoteResponder(server.url, "m", price=PRICE, ledger=books)
        (given,) = respond.run(far, ASKED, context)
        size = len(json.dumps(server.requests[0][2], ensure_ascii=False))
    assert books.settled == [(used, cost)]
    assert context.record.cost == cost
    tokens = context.record.tokens
    assert tokens.prompt + tokens.written == used
    assert tokens.cached <= tokens.prompt
    (charge,) = books.charges
    assert (charge.model, charge.written, books.keys) == ("m", 256, ["anna"])
    assert size < charge.prompt < size + 1000
    failures = [piece for piece in given.pieces if isinstance(piece, Failure)]
    assert len(failures) == len(told)
    for failure, words in zip(failures, told, strict=True):
        assert words in failure.text
        assert failure.code == "usage"


def test_both_counts_are_kept_where_they_differ() -> None:
    for counts, kept in (
        ((9, 5), None),
        ((9, 1), [{"told": {"prompt": 9, "written": 1}, "counted": {"prompt": 9, "written": 70}}]),
        (None, [{"told": {"prompt": 0, "written": 0}, "counted": {"prompt": 15, "written": 70}}]),
    ):
        context = Context()
        texts = ["It is. "] * (2 if kept is None else 20)
        with stranger(answer(*texts, counts=counts)) as server:
            respond.run(RemoteResponder(server.url, "m"), ASKED, context)
        assert context.record.facts.get("counts") == kept


@pytest.mark.parametrize(
    ("sent", "asked", "used"),
    [
        (refusal("503 Busy"), ASKED, 0),
        (refusal("400 Bad"), ASKED, 0),
        (refusal("302 Found"), ASKED, 0),
        (JSON + b'{"error": {"message": "overloaded", "code": 529}}', ASKED, 0),
        (b"", ASKED, 15),  # it may have been computed
        (HEAD, ASKED, 15),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ASKED, 15),
        (HEAD + b"".join(event(delta(content="It is. ")) for _ in range(9)), ASKED, 15 + 32),
        (HEAD + event(delta(content="It is. ")) + event(usage(20, 7)), ASKED, 27),
        (HEAD + event(delta(content="It ")) + b"data: {nonsense\n\n", ASKED, 15 + 2),
        (HEAD + event(delta(content="It ")) + event({"error": "it broke"}), ASKED, 15 + 2),
        (HEAD, LONG, 1100 + 8),
        (HEAD + event(usage(3, 0)), LONG, 1100 + 8),  # no prompt that long has 3
        (HEAD + event(usage(500, 0)), LONG, 500),
    ],
)  # fmt: skip
def test_an_answer_that_fails_is_billed_for_what_came(
    sent: bytes, asked: respond.Conversation, used: int
) -> None:
    books, context = Books(), Context()
    with stranger(sent) as server, pytest.raises(RemoteError):
        respond.run(RemoteResponder(server.url, "m", ledger=books), asked, context)
    assert [tokens for tokens, _ in books.settled] == [used]
    assert context.record.tokens.prompt + context.record.tokens.written == used


def test_nothing_is_billed_where_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    books = Books()
    with pytest.raises(RemoteError) as raised:
        respond.run(RemoteResponder(f"http://127.0.0.1:{port}", "m", ledger=books), ASKED)
    assert (raised.value.code, raised.value.repeatable) == ("unreachable", True)
    assert books.settled == [(0, 0)]


def test_whoever_leaves_pays_for_what_came() -> None:
    books, context = Books(), Context()
    with stranger(HEAD + event(delta(content="It is. ")) * 5, waits=True) as server:
        far = RemoteResponder(server.url, "m", ledger=books)
        for piece in respond.stream(far, ASKED, context):
            if isinstance(piece, respond.Text):
                break
        assert books.settled[0][0] in range(15 + 4, 15 + 19)
        far = RemoteResponder(server.url, "m", ledger=books, bills_unread=True)
        next(pieces := respond.stream(far, ASKED))
        pieces.close()
        assert books.settled[1] == (15 + 256, 0)


SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"


def tokenizers_of_others() -> Iterator[Callable[[str], list[str]]]:
    """GPT-2's and Llama's: of a text its tokens, each as it is written."""
    folder = SHARED / "tokenizers"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    gpt2 = ByteLevelBPETokenizer(
        str(folder / "gpt2" / "vocab.json"), str(folder / "gpt2" / "merges.txt")
    )
    yield lambda text: [text[start:end] for start, end in gpt2.encode(text).offsets]
    llama = SentencePieceProcessor(model_file=str(folder / "llama" / "tokenizer.model"))
    yield lambda text: [piece.replace("▁", " ") for piece in llama.encode(text, out_type=str)]


def test_no_honest_count_is_doubted() -> None:
    """Of documents of all kinds, however their tokens are put into events."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    files = [*(SHARED / "documents").glob("*.*"), SHARED / "tinystories" / "val.txt"]
    texts = [
        text
        for file in files
        if file.suffix in (".txt", ".md", ".json", ".html", ".csv", ".rst", ".org", ".xml")
        and "\0" not in (text := file.read_bytes()[:1000].decode("utf-8", "ignore"))
    ]
    estimated = real = 0
    for tokens in tokenizers_of_others():
        for text in filter(None, texts):
            pieces = tokens(text)
            asked = conversation([{"role": "user", "content": text}])
            counts = Counts.of(asked)
            counts.most_prompt = most_prompt_tokens(text.encode())
            estimated, real = estimated + counts.prompt, real + len(pieces)
            for size in (1, 3, 1000):
                counts = dataclasses.replace(counts, events=0, received=0, dense=0)
                for start in range(0, len(pieces), size):
                    counts.came("".join(pieces[start : start + size]))
                counts.told({"prompt_tokens": len(pieces), "completion_tokens": len(pieces)})
                assert counts.doubts("far") == []
    assert real < estimated < 2 * real  # where no count is told


@pytest.mark.parametrize("text", ["raining", "regnet ß ", "下雨 ", "ﷺ ", "\U0001f327", "\x00"])
def test_no_prompt_has_more_tokens_than_are_reserved(text: str) -> None:
    asked = conversation([{"role": "user", "content": text * 50}] * 20)
    body = Dialect("m", "a", Abilities("m", 0), limit="max_tokens").form(asked, 5).body
    for form in ("NFC", "NFKC"):  # bytes are the most that any tokenizer makes of a text
        texts = [unicodedata.normalize(form, message.text) for message in asked.messages]
        assert sum(len(text.encode()) + 16 for text in texts) < most_prompt_tokens(body)


def test_an_answer_is_cut_to_what_the_budget_has() -> None:
    with stranger(answer("It is.", counts=(9, 50), finish="length")) as server:
        books = Books(left=20_000)
        far = RemoteResponder(server.url, "m", price=PRICE, ledger=books)
        (given,) = respond.run(far, ASKED)
        longest = server.requests[0][2]["max_tokens"]
        assert 32 <= longest < 256
        assert books.charges[0].cost <= 20_000
        assert given.finish_reason == "length"
        (told,) = [piece for piece in given.pieces if isinstance(piece, Decision)]
        assert (told.subject, told.outcome) == ("budget", f"at most {longest} tokens of an answer")
        for left, asked in ((9000, ASKED), (0, ASKED), (9000, ASKED.replace(choices=3))):
            with pytest.raises(BudgetExceededError):
                respond.run(
                    RemoteResponder(server.url, "m", price=PRICE, ledger=Books(left)), asked
                )
        few = ASKED.replace(sampling=Sampling(max_tokens=3))
        respond.run(RemoteResponder(server.url, "m", price=PRICE, ledger=Books(10_000)), few)
        assert len(server.requests) == 2
        # Both the budget of the call and the ledger must have it; what one has is given back.
        budget = TokenBudget(5000)
        with pytest.raises(BudgetExceededError):
            respond.run(
                RemoteResponder(server.url, "m", price=PRICE, ledger=Books(0)), ASKED,
                Context(budget=budget),
            )  # fmt: skip
        assert budget.left == 5000


@pytest.mark.parametrize(
    "sent",
    [
        [event(delta(content="It is. "))] * 5000,
        [event(delta(reasoning_content="Hm. Hm. "))] * 5000,
        [event(delta(content="It is. " * 100))] * 50,
        [event(delta(content="It is. ")), event(usage(9, 21)), event(delta(content="b"))],
        calls_of(*[call(0, name="f", arguments="It is. ")] * 5000),
    ],
)
def test_who_writes_on_beyond_the_limit_is_cut_off(sent: list[bytes]) -> None:
    books, context = Books(), Context(interval=0)
    asked = ASKED.replace(sampling=Sampling(max_tokens=10), choices=2)
    with stranger(HEAD, *sent, waits=True) as server:
        far = RemoteResponder(server.url, "m", ledger=books)
        given = Answer()
        for piece in respond.stream(far, asked, context):
            if piece.choice == 0:
                given.add(piece)
        assert server.left.wait(PATIENCE)
    assert given.finish_reason == "length"
    assert [piece.code for piece in given.pieces if isinstance(piece, Failure)][:1] == [
        "beyond_limit"
    ]
    assert len(given.text) <= 700
    ((used, _),) = books.settled
    assert used > 9 + 20
