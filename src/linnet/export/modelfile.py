"""What Ollama makes a model from: a GGUF file and a Modelfile beside it.

The Modelfile holds the chat template in Go's language where the model follows a known
format (``linnet.export.chat_formats``). For any other, Ollama takes the
Jinja template in the GGUF file as far as it recognises it, and the Modelfile says so.

Format: https://docs.ollama.com/modelfile
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import OutputError
from linnet.export.chat_formats import recognised
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf
from linnet.export.merged import merged
from linnet.model.config_file import read_generation_file
from linnet.output import check_output_directory, within_directory, write_text
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

MODELFILE, WEIGHTS = "Modelfile", "model.gguf"
_PARAMETERS = ("temperature", "top_k", "top_p", "repeat_penalty")


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
