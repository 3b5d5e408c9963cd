"""Writes a model as a GGUF file, which llama.cpp and all that is built on it read.

Tensors go from the checkpoint to the file some rows at a time: the weights are
mapped, not loaded, so that memory stays small however large the model. The
file is written beside its place and renamed when it is complete.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from linnet.errors import ConfigError, ModelError, OutputError
from linnet.export.config import K_QUANTS, ExportConfig
from linnet.gguf.architectures import architecture, differences, metadata, tensors
from linnet.gguf.header import gguf_package
from linnet.gguf.quantisation import (
    Importance,
    encoded,
    format_of,
    ggml_type,
    possible_format,
    stored_bytes,
)
from linnet.gguf.vocabulary import Vocabulary, read_definition, vocabulary
from linnet.model import load_model
from linnet.model.config_file import read_generation_file, read_object
from linnet.model.merging import merged
from linnet.model.weights import FORMATS, open_weights
from linnet.output import full_disk_named, replacing, require_space, within_directory
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from linnet.model import ModelConfig, Transformer
    from linnet.tokenizer import Tokenizer

K_QUANT_WIDTH = 256
"""K-quants have blocks of this many numbers."""

Spelling: TypeAlias = "Callable[[Tokenizer, Path, int], Vocabulary]"
"""From a tokenizer, its directory and the rows of the model's table to what the file says."""

_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def vocabulary_of(tokenizer: Tokenizer, path: Path, size: int) -> Vocabulary:
    """The tokenizer in the directory ``path`` as it is, with its chat templates."""
    words = vocabulary(tokenizer, read_definition(tokenizer), size=size)
    words.settings |= _end_of_turn(path, words.settings, tokenizer)
    if tokenizer.chat_template is not None:
        words.templates.update(tokenizer.chat_template.templates)
    return words


def export_gguf(
    model: Path | str,
    out: Path | str,
    config: ExportConfig | None = None,
    *,
    spelling: Spelling | None = None,
    formats: Mapping[str, str] | None = None,
    importance: Importance | None = None,
    stored: Mapping[str, npt.NDArray[Any]] | None = None,
    open_once: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Write the model directory ``model`` as the GGUF file ``out``; an adapter with its base.

    ``spelling``: what the file says of the tokenizer, if not :func:`vocabulary_of`; it must
    have a token for each row. ``formats``: number formats of single tensors, by GGUF's names,
    beside the one that is asked for all; ``importance``: of the columns of matrices
    (``linnet.gguf.quantisation``). ``stored``: the bytes of single tensors that were made
    elsewhere, in the tensor's format. ``open_once``: whether llama.cpp, where it is installed,
    opens the file before it gets its name; not needed by who opens it next.
    Raises ModelError where llama.cpp would compute something else than the model
    does, or does not accept the file, MissingExtraError without the ``gguf`` package, and
    OutputError when there is no room; a file that was there before is then unchanged.
    """
    config, out, spelling = config or ExportConfig(), Path(out), spelling or vocabulary_of
    gguf_package()
    if out.is_dir():
        raise OutputError(f"{out} is a directory; name a file, such as {out / 'model.gguf'}")
    with (
        within_directory(out.parent),
        merged(model, beside=out.parent, progress=progress) as path,
    ):
        loaded = load_model(path, dtype=stored_format(path), progress=progress)
        for difference in differences(loaded.config):
            progress.warn(difference)
        with replacing(out) as neighbour:
            if config.type in K_QUANTS:
                _write_k_quants(loaded, path, neighbour, config, progress)
            else:
                name = config.name or _name(path)
                _write(
                    loaded, path, neighbour, config.type, name, progress, spelling,
                    formats or {}, importance or {}, stored or {},
                )  # fmt: skip
            if open_once:
                require_opens(neighbour, out, causal=loaded.config.causal, progress=progress)
    return out


def stored_format(path: Path) -> torch.dtype:
    """The format that weights are mapped in without a copy, if they all have the same."""
    formats = {stored.format for stored in open_weights(path).values()}
    only = formats.pop() if len(formats) == 1 else "F32"
    return FORMATS.get(only, torch.float32)


def _write(
    model: Transformer,
    path: Path,
    out: Path,
    type: str,
    name: str,
    progress: Progress,
    spelling: Spelling = vocabulary_of,
    own: Mapping[str, str] = MappingProxyType({}),
    importance: Importance = MappingProxyType({}),
    stored: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> None:
    gguf = gguf_package()
    words = spelling(load_tokenizer(path), path, model.config.vocab_size)
    for difference in words.differences:
        progress.warn(difference)
    writer = gguf.GGUFWriter(None, architecture(model.config).name)
    _add_general(writer, path, "mixed" if own else type, words.safe_name(name))
    _add_values(writer, {**metadata(model), **_encoder(model.config, path)})
    _add_vocabulary(writer, words)
    plan = [
        (entry, tuple(values.shape), planned_format(entry, tuple(values.shape), type, own))
        for entry, values in tensors(model)
    ]
    sizes = {entry: stored_bytes(shape, format) for entry, shape, format in plan}
    for entry, shape, format in plan:
        writer.add_tensor_info(entry, shape, None, sizes[entry], raw_dtype=ggml_type(format))
    total = sum(sizes.values())
    require_space(out, total + (len(words.tokens) << 6), purpose="the GGUF file")
    with full_disk_named(out), progress.task(f"writing {type}", total=total, unit="bytes") as task:
        writer.write_header_to_file(out)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        with out.open("ab") as file:
            formats = {entry: format for entry, _, format in plan}
            for entry, values in tensors(model):
                _pad(file, writer.data_alignment)
                chunks: Iterable[npt.NDArray[Any]]
                if entry in stored:
                    chunks = [stored[entry]]
                    if stored[entry].nbytes != sizes[entry]:
                        raise ModelError(
                            f"the tensor '{entry}' must have {sizes[entry]:,} bytes in "
                            f"{formats[entry]}. Got {stored[entry].nbytes:,}"
                        )
                else:
                    chunks = encoded(entry, values, formats[entry], importance.get(entry))
                for chunk in chunks:
                    file.write(chunk.tobytes())
                    task.advance(chunk.nbytes)
            _pad(file, writer.data_alignment)
            file.flush()
            os.fsync(file.fileno())


def planned_format(name: str, shape: tuple[int, ...], type: str, own: Mapping[str, str]) -> str:
    """The format of a tensor, where single ones have their own."""
    return possible_format(name, shape, own[name]) if name in own else format_of(name, shape, type)


def require_opens(written: Path, out: Path, *, causal: bool, progress: Progress) -> None:
    """Have llama.cpp open what was written. Raises ModelError, naming ``out``, when it refuses."""
    from linnet.llama_cpp.client import opens

    try:
        with progress.task("opening it with llama.cpp"):
            is_known = opens(written, embedding=not causal)
    except ModelError as error:
        reason = str(error).replace(str(written.resolve()), str(out))
        raise ModelError(f"{reason}; the file was not kept") from None
    if not is_known:
        progress.warn(
            f"{out} was not opened to see whether llama.cpp accepts it: xllamacpp is not installed"
        )


def _pad(file: Any, alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def _add_general(writer: Any, path: Path, type: str, name: str) -> None:
    gguf = gguf_package()
    writer.add_type("model")
    writer.add_name(name)
    licence = _front_matter(path).get("license")
    if licence:
        writer.add_license(licence)
    files = {"f32": "ALL_F32", "mixed": "GUESSED"}
    files |= {f"q{bits}_k": f"MOSTLY_Q{bits}_K_S" for bits in (3, 4, 5)}
    writer.add_file_type(gguf.LlamaFileType[files.get(type, f"MOSTLY_{type.upper()}")])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_values(writer: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, int(value))
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)


def _add_vocabulary(writer: Any, words: Vocabulary) -> None:
    writer.add_tokenizer_model(words.model)
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if words.scores is not None:
        writer.add_token_scores(words.scores)
    if words.merges is not None:
        writer.add_token_merges(words.merges)
    _add_values(writer, {f"tokenizer.ggml.{key}": value for key, value in words.settings.items()})
    if words.templates:
        writer.add_chat_template(
            [{"name": name, "template": template} for name, template in words.templates.items()]
        )


def _end_of_turn(path: Path, settings: dict[str, Any], tokenizer: Tokenizer) -> dict[str, int]:
    """A second token that ends what the model writes, where there is one."""
    ends = read_generation_file(path).get("eos_token_id")
    candidates = [*tokenizer.stop_ids, *(ends if isinstance(ends, list) else [ends])]
    other = [e for e in candidates if isinstance(e, int) and e != settings.get("eos_token_id")]
    return {"eot_token_id": other[0]} if other else {}


def _encoder(config: ModelConfig, path: Path) -> dict[str, Any]:
    """What an encoder is told beside its shape: how its states become one vector."""
    if config.causal:
        return {}
    file = path / "1_Pooling" / "config.json"  # of sentence-transformers; without it the mean
    modes = read_object(file) if file.is_file() else {"pooling_mode": "mean"}
    named = modes.get("pooling_mode", [name for key, name in _POOLING.items() if modes.get(key)])
    pooling = named if isinstance(named, str) else named[0] if len(named) == 1 else str(named)
    if pooling not in _POOLING.values():
        raise ModelError(
            f"{file}: llama.cpp makes one vector of the mean or of the first state. Got {pooling}"
        )
    return {
        f"{architecture(config).name}.pooling_type": gguf_package().PoolingType[pooling.upper()],
        "tokenizer.ggml.token_type_count": max(config.token_types, 1),
    }


def _front_matter(path: Path) -> dict[str, str]:
    """The plain entries of a model card's header."""
    file = path / "README.md"
    if not file.is_file():
        return {}
    parts = re.match(r"---\n(.*?)\n---\n", file.read_text("utf-8", "replace"), re.DOTALL)
    lines = parts[1].splitlines() if parts else []
    entries = [re.fullmatch(r"(\w+): *['\"]?([^'\"\[{]+?)['\"]? *", line) for line in lines]
    return {entry[1]: entry[2] for entry in entries if entry}


def _name(path: Path) -> str:
    return path.resolve().name


def _write_k_quants(
    model: Transformer, path: Path, out: Path, config: ExportConfig, progress: Progress
) -> None:
    """By way of a file in full precision, which ``llama-quantize`` makes smaller."""
    program = shutil.which("llama-quantize")
    if program is None:
        raise ConfigError(
            f"--type {config.type} needs llama.cpp's llama-quantize on the PATH, and there is "
            "none; install llama.cpp, or use q8_0 or q4_0"
        )
    narrow = [
        (name, values.shape[-1])
        for name, values in tensors(model)
        if values.dim() > 1
        and values.shape[-1] % K_QUANT_WIDTH
        and format_of(name, tuple(values.shape), "f16") == "f16"
    ]
    if narrow:
        raise ConfigError(
            f"--type {config.type} needs widths that are multiples of {K_QUANT_WIDTH}, but "
            f"'{narrow[0][0]}' has {narrow[0][1]}; use q8_0 or q4_0"
        )
    whole = out.with_name(f".{out.name}.f32.partial")
    try:
        _write(model, path, whole, "f32", config.name or _name(path), progress)
        with progress.task(f"writing {config.type}"):
            done = subprocess.run(
                [program, str(whole), str(out), config.type.upper()],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
            if done.returncode != 0 or not out.is_file():
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                raise ModelError(
                    f"{program} failed with status {done.returncode}: {' '.join(last)}"
                )
    finally:
        whole.unlink(missing_ok=True)
