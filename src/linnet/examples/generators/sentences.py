"""Questions that a sentence answers by its form: "X is a ...", "X is caused by ..."."""

from __future__ import annotations

from collections.abc import Iterator

from linnet.examples.generator import Context, Generator, example
from linnet.examples.languages import CODES
from linnet.examples.record import Example
from linnet.examples.source import Source
from linnet.examples.subjects import in_context, subject_of

_LONGEST = 400  # characters of a sentence that is read


def generate(source: Source, context: Context) -> Iterator[Example]:
    words = source.words
    if words is None:
        return
    for passage in source.passages:
        for block in passage.blocks:
            if block.kind not in ("paragraph", "list", "message"):
                continue
            for start, end in source.sentences(
                max(block.start, passage.start), min(block.end, passage.end)
            ):
                if end - start > _LONGEST:
                    continue
                sentence = " ".join(source.text[start:end].split())
                for pattern in words.patterns:
                    found = pattern.match.fullmatch(sentence.rstrip(".!"))
                    if found is None:
                        continue
                    subject = subject_of(found["s"], source)
                    if subject is None:
                        continue
                    groups = {**found.groupdict(), "s": subject.text}
                    key = (source.id, str(start))
                    template = context.choose(pattern.ask, *key, pattern.name)
                    question = template.format(**groups)
                    if not subject.tells:
                        made = in_context(question, source, passage, context, key)
                        if made is None:
                            continue
                        question = made
                    yield example(source, passage, "question", question, sentence, (start, end))
                    break


GENERATOR = Generator("sentences", ("question",), generate=generate, languages=CODES)
