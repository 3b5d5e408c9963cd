"""Texts divided into claims: what ends a sentence, and what does not."""

import random

import pytest

from linnet.grounding import claims

DIVIDED = [
    ("Dr. Smith went to the U.S. on 5 March. He paid $3.50 (approx. 3 euros). It worked! Did it?",
     ["Dr. Smith went to the U.S. on 5 March.", "He paid $3.50 (approx. 3 euros).", "It worked!",
      "Did it?"]),
    ("J. F. Kennedy liked Plan B. It was cheap. See Fig. 3. No. 5 is e.g. red.",
     ["J. F. Kennedy liked Plan B.", "It was cheap.", "See Fig. 3.", "No. 5 is e.g. red."]),
    ("The rate was 3.5. The count was 12. Then it fell.",
     ["The rate was 3.5.", "The count was 12.", "Then it fell."]),
    ("Am 5. März 2024 kam Hr. Müller, z.B. um 10.30 Uhr. Er ging. Das 19. Jahrhundert war lang.",
     ["Am 5. März 2024 kam Hr. Müller, z.B. um 10.30 Uhr.", "Er ging.",
      "Das 19. Jahrhundert war lang."]),
    ("Der Turnverein Wien e. V. wurde 1962 gegründet. Er lebt.",
     ["Der Turnverein Wien e. V. wurde 1962 gegründet.", "Er lebt."]),
    ("M. Dupont a dit « oui ». Il est parti vers 9 h.",
     ["M. Dupont a dit « oui ».", "Il est parti vers 9 h."]),
    ("El Sr. Gómez llegó. ¿Quién lo vio? Nadie.",
     ["El Sr. Gómez llegó.", "¿Quién lo vio?", "Nadie."]),
    ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
    ("Symptoms:\n- fever\n- a cough. It lasts.\n\n1. First\n2) Second\n(a) Third",
     ["Symptoms:", "fever", "a cough.", "It lasts.", "First", "Second", "Third"]),
    ("# Heading\nThis line was broken because it was much too long for\nThe Terminal of it. Next.",
     ["Heading", "This line was broken because it was much too long for\nThe Terminal of it.",
      "Next."]),
    ("他来了。他走了！", ["他来了。", "他走了！"]),
    ("... \n --- \n", []),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), DIVIDED)
def test_what_ends_a_claim(text: str, wanted: list[str]) -> None:
    found = claims(text)
    assert [claim.text for claim in found] == wanted
    assert all(text[claim.start : claim.end] == claim.text for claim in found)


def test_any_text_is_divided_without_overlap() -> None:
    draw = random.Random(1)
    pieces = [*"aZ9.!?…\"'()- \n\t", "Dr.", "e.g.", "\r\n", "。", "5.", "http://a.b", "\u00a0"]
    for _ in range(500):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(0, 60)))
        end = 0
        for claim in claims(text):
            assert end <= claim.start < claim.end <= len(text)
            assert text[claim.start : claim.end] == claim.text == claim.text.strip()
            end = claim.end
        lost = [mark for mark in text if mark.isalnum()]
        kept = [mark for claim in claims(text) for mark in claim.text if mark.isalnum()]
        assert len(kept) <= len(lost)
