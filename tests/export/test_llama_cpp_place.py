"""Where llama.cpp is looked for: where packages are installed, not where one happens to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnet.errors import LinnetError
from linnet.llama_cpp.client import LlamaCpp


def test_programs_in_the_current_directory_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("xllamacpp", "json"):
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'run')!r}, 'w').close()\nraise ImportError\n"
        )
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LinnetError, match=r"model\.gguf: llama\.cpp does not accept it"):
        LlamaCpp(tmp_path / "model.gguf")
    assert not (tmp_path / "run").exists()
