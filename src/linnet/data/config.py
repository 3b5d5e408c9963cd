"""The settings of the data stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError

# How the work is done, not what comes out: outside the recipe.
_EXECUTION = ("workers", "file_timeout", "file_memory")
# What decides which files are read; the files themselves are an input of the corpus.
_SOURCES = ("include", "exclude", "gitignore")
# What decides over documents that have been read: may change without reading them again.
_DECISIONS = (
    "validation_fraction", "test_fraction", "split_key", "split_by", "languages", "quality",
    "near_duplicates", "held_out_share", "repeated_lines", "evaluation_sets", "weights",
)  # fmt: skip


@dataclass(frozen=True)
class DataConfig(Config):
    """How documents are found, read, cleaned, judged and divided."""

    include: tuple[str, ...] = option((), "read only files that match, such as '*.pdf'")
    exclude: tuple[str, ...] = option((), "pass over files and folders that match: 'drafts/'")
    gitignore: bool = option(False, "pass over what .gitignore files name")
    separator: str = option(
        "<|endoftext|>", "a line that ends a document in a text file", group="Reading"
    )
    text_columns: tuple[str, ...] = option(
        (), "columns of rows that hold the text, in order (found when not given)"
    )
    template: str = option(
        "", "text of a row with its columns in braces: '{title}: {body}'", group="Reading"
    )
    group_column: str = option("id", "column of rows whose equals share a split", group="Reading")
    html: Literal["main", "full"] = option(
        "main",
        "of web pages keep the main text, or all text (saved internal pages)",
        group="Reading",
    )
    ocr: Literal["none", "tesseract", "docling"] = option(
        "none",
        "read scanned pages: tesseract (where it is installed), docling (pip install docling)",
    )
    min_characters: int = option(16, "drop documents shorter than this", group="Limits")
    cut_above: int = option(
        4_000_000,
        "cut text, logs, code and tables longer than this at headings, blank lines or sentences",
        group="Limits",
    )
    max_document_bytes: int = option(
        64_000_000,
        "skip documents larger than this (long text is cut instead: cut_above)",
        group="Limits",
    )
    max_expanded_bytes: int = option(
        2_000_000_000, "give up on a file that unpacks to more than this", group="Limits"
    )
    max_nesting: int = option(4, "how deep archives and attachments are opened", group="Limits")
    privacy: Literal["mask", "pseudonym", "keep"] = option(
        "mask", "personal data: <EMAIL>, the same made-up stand-in each time, or as it is"
    )
    privacy_key: str = option("", "secret that decides the stand-ins of pseudonym", group="Privacy")
    privacy_names: bool = option(
        False, "names of people as well, found by a list and the words around", group="Privacy"
    )
    privacy_patterns: tuple[str, ...] = option(
        (), "more to mask, as NAME=REGEX: 'CASE=\\bC-\\d{6}\\b'", group="Privacy"
    )
    privacy_allow: tuple[str, ...] = option(
        (), "never masked: addresses and numbers as they stand, or @example.org", group="Privacy"
    )
    languages: tuple[str, ...] = option((), "keep only these, such as en de; all when not given")
    quality: tuple[str, ...] = option(
        (),
        "rules other than the defaults: 'web.min_words=20'; 'off' for none",
        group="Quality and repeats",
    )
    near_duplicates: float = option(
        0.8,
        "drop documents that share this much of their 5-word runs (Jaccard); 1: only equal",
        group="Quality and repeats",
    )
    held_out_share: float = option(
        0.5,
        "drop training documents of which this share of 13-word runs is held out, and never "
        "separate a held-out one from a document that has this share of it; 1: neither",
        group="Splits",
    )
    repeated_lines: float = option(
        0.3,
        "drop first and last lines that stand in this share of a source's documents; 1: none",
        group="Quality and repeats",
    )
    evaluation_sets: tuple[str, ...] = option(
        (),
        "files whose text must not be trained on: documents that share 13 words with them go",
        group="Splits",
    )
    weights: tuple[str, ...] = option(
        (), "how often training reads a source or kind in a pass: 'mail=0.5' 'handbook=3'"
    )
    validation_fraction: float = option(
        0.05, "share of the documents kept for validation", group="Splits"
    )
    test_fraction: float = option(
        0.05, "share of the documents kept for the final test", group="Splits"
    )
    split_key: str = option(
        "linnet", "another key gives another division into splits", group="Splits"
    )
    split_by: Literal["auto", "document", "piece"] = option(
        "auto",
        "what is held out: whole documents, or pieces of them where documents are few",
        group="Splits",
    )
    workers: int = option(0, "processes that read files; 0 for one per core", group="Limits")
    file_timeout: float = option(
        120.0, "give up on a file that yields nothing for this many seconds", group="Limits"
    )
    file_memory: int = option(
        2000, "give up on a file that takes more memory than this (MB)", group="Limits"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fractions = (self.validation_fraction, self.test_fraction)
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise ConfigError(
                "validation_fraction and test_fraction must be at least 0 and together below 1. "
                f"Got {self.validation_fraction} and {self.test_fraction}"
            )
        for name, least in (
            ("min_characters", 1), ("cut_above", 1000), ("max_document_bytes", 1000),
            ("max_expanded_bytes", 1000), ("max_nesting", 0), ("workers", 0), ("file_memory", 200),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}. Got {getattr(self, name)}")
        for name in ("near_duplicates", "held_out_share", "repeated_lines"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share above 0, up to 1. Got {getattr(self, name)}")
        if self.file_timeout <= 0:
            raise ConfigError(f"file_timeout must be above 0 seconds. Got {self.file_timeout}")
        for code in self.languages:
            if not (2 <= len(code) <= 3 and code.isascii() and code.islower()):
                raise ConfigError(f"languages are codes such as en or de. Got '{code}'")
        if not self.separator.strip():
            raise ConfigError("separator must be a line that is not blank")
        if self.privacy == "pseudonym" and not self.privacy_key:
            raise ConfigError("privacy 'pseudonym' needs privacy_key, a secret of your own")
        _ = self.mixture

    @property
    def mixture(self) -> dict[str, float]:
        """Weights by source label or kind. Raises ConfigError for one that is no number."""
        found = {}
        for entry in self.weights:
            name, _, value = entry.rpartition("=")
            try:
                weight = float(value)
            except ValueError:
                weight = math.nan
            if not name or not 0 <= weight <= 100:
                raise ConfigError(f"weights are NAME=NUMBER with 0 to 100. Got '{entry}'")
            found[name] = weight
        return found

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        left_out = (*_EXECUTION, *_SOURCES, "privacy_key")
        values = {k: v for k, v in to_mapping(self).items() if k not in left_out}
        if not self.privacy_names:  # corpora made before there was this setting stay as they are
            del values["privacy_names"]
        if self.privacy_key:  # what is written down tells a change, not the secret
            values["privacy_key"] = key_fingerprint(self.privacy_key)
        return values

    def extraction(self) -> dict[str, Any]:
        """The settings that decide which texts a file yields, before they are judged."""
        return {name: value for name, value in self.recipe().items() if name not in _DECISIONS}


def key_fingerprint(key: str) -> str:
    """A hash from which a secret cannot be had in practice if it is long enough to be one."""
    import hashlib

    return hashlib.scrypt(key.encode(), salt=b"linnet privacy key", n=1 << 14, r=8, p=1).hex()[:16]
