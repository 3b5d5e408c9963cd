"""What Ollama makes a model from: a GGUF file and a Modelfile beside it.

The Modelfile holds the chat template in Go's language, which cannot be translated from Jinja
in general. So the formats that many models share are listed here, and which one a model
follows is found by rendering conversations with the model's own template and comparing: one
that only looks alike is not taken. For any other, Ollama takes the Jinja template in the GGUF
file as far as it recognises it, and the Modelfile says so.

References: https://docs.ollama.com/modelfile, https://docs.ollama.com/template and
https://pkg.go.dev/text/template
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import DataError, OutputError
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf
from linnet.model.config_file import read_generation_file
from linnet.model.merging import merged
from linnet.output import check_output_directory, within_directory, write_text
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

MODELFILE, WEIGHTS = "Modelfile", "model.gguf"
_PARAMETERS = ("temperature", "top_k", "top_p", "repeat_penalty")

Message = dict[str, str]
Around = tuple[str, str]
"""What stands before and after a message."""


def export_ollama(
    model: Path | str,
    out: Path | str,
    config: ExportConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Path:
    """Write ``Modelfile`` and ``model.gguf`` into the directory ``out``; gives the first's path.

    Raises what :func:`linnet.export.gguf.export_gguf` raises, and OutputError when ``out``
    holds something else.
    """
    out = Path(out)
    check_output_directory(out, allowed=(MODELFILE,))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(within_directory(out))
        except OSError as error:
            raise OutputError(f"{out}: cannot write here ({error.strerror})") from None
        path = stack.enter_context(merged(model, beside=out, progress=progress))
        text = modelfile(load_tokenizer(path), read_generation_file(path))
        export_gguf(path, out / WEIGHTS, config, progress=progress)
        write_text(out / MODELFILE, text)
    return out / MODELFILE


def modelfile(tokenizer: Tokenizer, generation: dict[str, object]) -> str:
    """The text of a Modelfile. ``generation``: the content of ``generation_config.json``."""
    lines = [f"FROM ./{WEIGHTS}"]
    found = recognised(tokenizer)
    if found is not None:
        lines.append(f"# conversations in the format {found.name}, as the model's own template")
        lines.append(f'TEMPLATE """{found.go()}"""')
        lines += [f'PARAMETER stop "{stop}"' for stop in found.stop]
    elif tokenizer.chat_template is not None:
        lines.append("# the chat template follows no known format: Ollama reads the one in the")
        lines.append("# GGUF file, and may not recognise it either")
    else:
        lines.append("# no chat template: the model continues text")
        lines.append('TEMPLATE """{{ .Prompt }}"""')
    known = {**generation, "repeat_penalty": generation.get("repetition_penalty")}
    for name in _PARAMETERS:
        value = known.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            lines.append(f"PARAMETER {name} {value}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ChatFormat:
    """A way to write conversations."""

    name: str
    user: Around
    assistant: Around
    stop: tuple[str, ...]
    system: Around | None = None
    """None: the system's message stands within the user's next turn."""
    system_within: Around = ("", "\n\n")
    """What stands around it there."""
    later: str = ""
    """Before every turn of the user but the first."""
    begin: str = ""
    """Before everything, where the tokenizer does not put it there."""
    no_system: str = ""
    """Before a conversation that has no system's message."""

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation up to where an answer begins; what :meth:`go` makes of it in Ollama."""
        text, held, later = self.begin, "", ""
        if messages[0]["role"] != "system":
            text += self.no_system
        for message in messages:
            content = message["content"]
            if message["role"] == "system" and self.system is None:
                held = content.join(self.system_within)
            elif message["role"] == "system":
                text += content.join(self.system or ("", ""))
            elif message["role"] == "user":
                text += later + (held + content).join(self.user)
                held, later = "", self.later
            else:
                text += content.join(self.assistant)
        return text + self.assistant[0]

    def go(self) -> str:
        """The template in Go's language. Text between actions is as it is: nothing is trimmed."""
        content = "{{ .Content }}"
        turn = content.join(self.user)
        if self.system is not None:
            system = content.join(self.system)
            declared = ""
        else:
            system = "{{ $system = .Content }}"
            held = "{{ $system }}".join(self.system_within)
            taken = "{{ if $system }}" + held + '{{ end }}{{ $system = "" }}'
            turn = (taken + content).join(self.user)
            declared = '{{ $system := "" }}'
        if self.later:
            declared += "{{ $later := false }}"
            turn = f"{{{{ if $later }}}}{self.later}{{{{ end }}}}{turn}{{{{ $later = true }}}}"
        lacking = '{{ if ne (index .Messages 0).Role "system" }}' + self.no_system + "{{ end }}"
        return (
            declared
            + self.begin
            + (lacking if self.no_system else "")
            + '{{ range .Messages }}{{ if eq .Role "system" }}'
            + system
            + '{{ else if eq .Role "user" }}'
            + turn
            + '{{ else if eq .Role "assistant" }}'
            + content.join(self.assistant)
            + "{{ end }}{{ end }}"
            + self.assistant[0]
        )


def _tagged(name: str, before: str, after: str, *, stop: str) -> ChatFormat:
    """Every message in a turn that names its role."""
    turns = {
        role: (before.replace("ROLE", role), after) for role in ("system", "user", "assistant")
    }
    return ChatFormat(name, turns["user"], turns["assistant"], (stop,), system=turns["system"])


FORMATS = (
    _tagged("chatml", "<|im_start|>ROLE\n", "<|im_end|>\n", stop="<|im_end|>"),
    _tagged(
        "llama3", "<|start_header_id|>ROLE<|end_header_id|>\n\n", "<|eot_id|>", stop="<|eot_id|>"
    ),
    _tagged("zephyr", "<|ROLE|>\n", "</s>\n", stop="</s>"),
    _tagged("phi3", "<|ROLE|>\n", "<|end|>\n", stop="<|end|>"),
    _tagged("phi4", "<|ROLE|>", "<|end|>", stop="<|end|>"),
    ChatFormat(
        "llama2",
        ("[INST] ", " [/INST]"),
        (" ", " </s>"),
        ("[INST]", "</s>"),
        system_within=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        later="<s>",
    ),
    ChatFormat("mistral", ("[INST] ", " [/INST]"), (" ", "</s>"), ("[INST]", "</s>")),
    ChatFormat("mistral-1", ("[INST] ", " [/INST]"), ("", "</s>"), ("[INST]", "</s>")),
    ChatFormat("mistral-3", ("[INST]", "[/INST]"), ("", "</s>"), ("[INST]", "</s>")),
    ChatFormat(
        "gemma",
        ("<start_of_turn>user\n", "<end_of_turn>\n"),
        ("<start_of_turn>model\n", "<end_of_turn>\n"),
        ("<end_of_turn>",),
    ),
)

_SYSTEM = {"role": "system", "content": "Answer in\none word."}
_FIRST = {"role": "user", "content": "Is 2 > 1?"}
_TALK = [
    _FIRST,
    {"role": "assistant", "content": "Yes,\n\n2 is."},
    {"role": "user", "content": "And {3}?"},
]
PROBES: tuple[list[Message], ...] = ([_FIRST], _TALK, [_SYSTEM, _FIRST], [_SYSTEM, *_TALK])


def recognised(tokenizer: Tokenizer) -> ChatFormat | None:
    """The format that a tokenizer's chat template follows, if it is one of these.

    A template may refuse a system's message; then Ollama's users get the usual place for it.
    """
    rendered = _rendered(tokenizer)
    if rendered is None:
        return None
    start = "".join(tokenizer.token_name(token) for token in tokenizer.start)
    bos = tokenizer.token_name(tokenizer.bos) if tokenizer.bos is not None else ""
    texts = {key: text.removeprefix(start) for key, text in rendered.items()}
    begins = bos if not start and bos and all(t.startswith(bos) for t in texts.values()) else ""
    for known in FORMATS:
        found = replace(known, begin=begins)
        plain = found.render(PROBES[0])
        if texts[0].endswith(plain.removeprefix(begins)):
            extra = texts[0][len(begins) : len(texts[0]) - len(plain) + len(begins)]
            found = replace(found, no_system=extra)
        same = all(found.render(PROBES[key]) == text for key, text in texts.items())
        if same and not any(mark in found.no_system for mark in ("{{", "}}", '"""')):
            return found
    return None


def _rendered(tokenizer: Tokenizer) -> dict[int, str] | None:
    """What the model's own template makes of each probe that it accepts."""
    if tokenizer.chat_template is None:
        return None
    texts: dict[int, str] = {}
    for key, messages in enumerate(PROBES):
        try:
            texts[key] = tokenizer.chat_template.render(messages, add_generation_prompt=True)
        except DataError:
            continue
    return texts if 0 in texts and 1 in texts else None
