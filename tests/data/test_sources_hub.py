"""Data sets in Hugging Face's formats, from local folders: nothing here needs the network."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from linnet.data.files import scan
from linnet.data.hub import Wanted, fetch_dataset, parse
from linnet.errors import DataError, MissingExtraError

ROWS = 2500


@pytest.fixture(scope="module")
def datasets():
    module = pytest.importorskip("datasets")
    module.disable_progress_bars()
    return module


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked = []

    def refuse(*address: object) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert asked == []


def _table(datasets, rows: int = ROWS):
    texts = [f"Row {number} tells of ferns." for number in range(rows)]
    return datasets.Dataset.from_dict(
        {"id": list(range(rows)), "text": texts, "picture": [b"\x89PNG"] * rows}
    )


def _read(files: list[Path]) -> dict[str, list]:
    return parquet.ParquetDataset(files).read().to_pydict()


def test_names_are_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd@name").mkdir()
    assert parse("hf:squad") == Wanted("squad", None, "train", 0, None)
    assert parse("hf:org/name:en-de@validation[10:20]") == Wanted(
        "org/name", "en-de", "validation", 10, 20
    )
    assert parse("hf:org/name@train[:500]") == Wanted("org/name", None, "train", 0, 500)
    assert parse("hf:odd@name").folder == str(tmp_path / "odd@name")
    assert parse(r"hf:C:\data\rows").name == r"C:\data\rows"
    for wrong in ("hf:", "hf:a@train[5]", "hf:a@train[:10%]", "hf:a@train+test", "hf:a@t[9:3]"):
        with pytest.raises(DataError):
            parse(wrong)


def test_what_save_to_disk_wrote_is_read_whole(datasets, tmp_path: Path) -> None:
    table = _table(datasets)
    table.save_to_disk(tmp_path / "saved", num_shards=3)
    files = fetch_dataset(f"hf:{tmp_path}/saved", tmp_path / "cache")
    assert _read(files) == {name: table[name][:] for name in ("id", "text")}  # no pictures
    (skipped, *_) = scan([tmp_path / "saved"]).skipped
    assert skipped.reason == "rows of a data set: name its folder as hf:FOLDER"
    splits = datasets.DatasetDict(train=table, test=_table(datasets, 7))
    splits.save_to_disk(tmp_path / "splits")
    files = fetch_dataset(f"hf:{tmp_path}/splits@test[2:5]", tmp_path / "cache")
    assert _read(files)["id"] == [2, 3, 4]
    with pytest.raises(DataError, match="no split 'other'"):
        fetch_dataset(f"hf:{tmp_path}/splits@other", tmp_path / "cache")


def test_folders_as_on_the_hub_are_read_and_become_documents(datasets, tmp_path: Path) -> None:
    folder = tmp_path / "fern"
    (folder / "data").mkdir(parents=True)
    _table(datasets).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    _table(datasets, 3).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    found = scan([f"hf:{folder}@test", f"hf:{folder}"], cache=tmp_path / "cache")
    assert [(file.name, file.kind) for file in found.files] == [
        ("fern/test-00000.parquet", "parquet"),
        ("fern/train-00000.parquet", "parquet"),
    ]
    assert len(_read([Path(found.files[1].path)])["id"]) == ROWS
    halves = [f"hf:{folder}@train[:5]", f"hf:{folder}@train[5:10]"]
    names = [file.name for file in scan(halves, cache=tmp_path / "cache").files]
    assert names == ["fern#2/train-00000.parquet", "fern/train-00000.parquet"]
    with pytest.raises(DataError, match="Bad split"):
        fetch_dataset(f"hf:{folder}@other", tmp_path / "cache")


def test_columns_that_come_late_or_change_do_no_harm(datasets, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "note": None} for n in range(1500)]
    rows += [{"text": f"row {n}", "note": "late"} for n in range(1500)]
    (tmp_path / "rows").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows" / "train.jsonl").write_text(lines)
    files = fetch_dataset(f"hf:{tmp_path}/rows", tmp_path / "cache")
    assert _read(files)["note"] == [row["note"] for row in rows]


def test_rows_are_kept_until_the_folder_changes(datasets, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "first"}\n')
    source, cache = f"hf:{folder}", tmp_path / "cache"
    (first,) = fetch_dataset(source, cache)
    written = first.stat().st_mtime_ns
    assert fetch_dataset(source, cache) == [first]
    assert first.stat().st_mtime_ns == written
    (folder / "train.jsonl").write_text('{"text": "changed"}\n')
    (second,) = fetch_dataset(source, cache)
    assert _read([second])["text"] == ["changed"]
    assert not first.exists()


def test_the_limit_names_the_part_that_fits(datasets, tmp_path: Path) -> None:
    _table(datasets).save_to_disk(tmp_path / "saved")
    source = f"hf:{tmp_path}/saved"
    with pytest.raises(DataError, match=r"@train\[0:2000\]"):
        fetch_dataset(source, tmp_path / "cache", limit=80_000)
    assert len(_read(fetch_dataset(f"{source}@train[0:2000]", tmp_path / "cache", limit=80_000)))


def test_a_readme_that_names_other_files_is_refused(datasets, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (tmp_path / "private.jsonl").write_text('{"text": "private"}\n')
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: ../private.jsonl\n---\n"
    )
    with pytest.raises(DataError, match="outside of itself"):
        fetch_dataset(f"hf:{folder}", tmp_path / "cache")


def test_a_data_set_with_a_program_is_not_run(datasets, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    ran = tmp_path / "ran"
    (folder / "rows.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(DataError):
        fetch_dataset(f"hf:{folder}", tmp_path / "cache")
    assert not ran.exists()


def test_offline_and_missing_packages_are_said(
    datasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="Couldn't reach 'org/rows'"):
        fetch_dataset("hf:org/rows", tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*datasets$"):
        fetch_dataset("hf:org/rows", tmp_path / "cache")
