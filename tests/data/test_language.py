"""Languages are told apart: article 1 of the Universal Declaration of Human Rights."""

from __future__ import annotations

from pathlib import Path

import pytest
from declaration import DECLARATION

from linnet.data.language import identify

# Their names in the file of all translations; Croatian and Indonesian are left out, which a
# sentence does not tell from Bosnian and Malay.
NAMES = {
    "Afrikaans": "af", "Arabic, Standard": "ar", "Bengali": "bn", "Bulgarian": "bg",
    "Catalan-Valencian-Balear": "ca", "Chinese, Mandarin (Simplified)": "zh", "Czech": "cs",
    "Danish": "da", "Dutch": "nl", "English": "en", "Estonian": "et", "Farsi, Western": "fa",
    "Finnish": "fi", "French": "fr", "German, Standard (1996)": "de", "Greek (monotonic)": "el",
    "Hebrew": "he", "Hindi": "hi", "Hungarian": "hu", "Icelandic": "is", "Italian": "it",
    "Japanese": "ja", "Korean": "ko", "Latvian": "lv", "Lithuanian": "lt", "Maltese": "mt",
    "Norwegian, Bokmål": "no", "Polish": "pl", "Portuguese (Portugal)": "pt",
    "Romanian (2006)": "ro", "Russian": "ru", "Slovak": "sk", "Slovenian": "sl", "Spanish": "es",
    "Swedish": "sv", "Tamil": "ta", "Thai": "th", "Turkish": "tr", "Ukrainian": "uk",
    "Urdu": "ur", "Vietnamese": "vi",
}  # fmt: skip


@pytest.mark.parametrize("code", DECLARATION)
def test_a_sentence_tells_its_language(code: str) -> None:
    found, probability = identify(DECLARATION[code][0])
    assert found == code
    assert 0.9 < probability <= 1


def test_translations_of_the_declaration(test_data: Path) -> None:
    file = test_data / "documents" / "language-docs" / "UDHR_first_article_all.txt"
    parts = file.read_text("utf-8-sig").split("\n\n")
    articles = dict(part.split("\n", 1) for part in parts if "\n" in part)
    found = {name: identify(articles[name])[0] for name in NAMES}
    assert found == NAMES


@pytest.mark.parametrize("text", ["", "ok", "1,234.50 + 17 = 99", "== -- ==", "Nr. 5: 10 kg"])
def test_too_few_letters_have_no_language(text: str) -> None:
    assert identify(text) == ("und", 0.0)


def test_a_document_is_judged_by_more_than_its_beginning() -> None:
    english, german = (" ".join(DECLARATION[code] * 9) for code in ("en", "de"))
    assert identify("HTTP://A.EXAMPLE/X 0815\n" * 3 + german)[0] == "de"
    assert identify(DECLARATION["en"][0] + german + german)[0] == "de"
    assert identify("\n".join(["=" * 60] * 40) + english)[0] == "en"
