"""Languages are told apart: article 1 of the Universal Declaration of Human Rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from linnet.data.language import identify

ARTICLE_1 = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with "
    "reason and conscience and should act towards one another in a spirit of brotherhood.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
    "und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués "
    "de raison et de conscience et doivent agir les uns envers les autres dans un esprit de "
    "fraternité.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
    "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.",
    "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati "
    "di ragione e di coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.",
    "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd "
    "met verstand en geweten, en behoren zich jegens elkander in een geest van broederschap te "
    "gedragen.",
    "pt": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de "
    "razão e de consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med "
    "förnuft och samvete och bör handla gentemot varandra i en anda av broderskap.",
    "fi": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on "
    "annettu järki ja omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni "
    "obdarzeni rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 "
    "이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
}
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


@pytest.mark.parametrize("code", ARTICLE_1)
def test_a_sentence_tells_its_language(code: str) -> None:
    found, probability = identify(ARTICLE_1[code])
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
    english, german = (" ".join([ARTICLE_1[code]] * 20) for code in ("en", "de"))
    assert identify("HTTP://A.EXAMPLE/X 0815\n" * 3 + german)[0] == "de"
    assert identify(ARTICLE_1["en"] + german + german)[0] == "de"
    assert identify("\n".join(["=" * 60] * 40) + english)[0] == "en"
