"""Text as the terms by which it is found: words in lower case, stemmed where that is possible.

Scripts that are written without blanks give pairs of characters. The stemmers are the light ones
that hardly ever join what means different things: Harman's "S" for English ("How Effective Is
Suffixing?", 1991), Savoy's minimal ones for German, French and Spanish ("Light Stemming
Approaches for the French, Portuguese, German and Hungarian Languages", 2006), and Dolamic and
Savoy's light one for Russian ("Indexing and Searching Strategies for the Russian Language", 2009).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

# Radicals to Han, Thai and Lao, Burmese, Khmer: as in linnet.data.shingles.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_TERM = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])\w)+")
_ASCII_TERM = re.compile(r"\w+", re.ASCII)
_RUN = re.compile(rf"[{_UNSPACED}]")
_LONGEST = 64  # characters of a term: what is longer is no word


def terms(text: str, language: str = "") -> list[str]:
    """The terms of a text in order. ``language`` (ISO 639-1) chooses the stemmer."""
    stem = stemmer(language)
    return [stem(word) for word in words(text)]


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case, not stemmed yet."""
    if text.isascii():
        return [word[:_LONGEST] for word in _ASCII_TERM.findall(text.lower())]
    found: list[str] = []
    for word in _TERM.findall(unicodedata.normalize("NFKC", text).lower()):
        if word[0] > "\u0dff" and _RUN.match(word):
            found += [word[at : at + 2] for at in range(max(len(word) - 1, 1))]
        else:
            found.append(word[:_LONGEST])
    return found


def stemmer(language: str) -> Callable[[str], str]:
    """What makes a term of a word; nothing is changed in a language that has no stemmer here."""
    return STEMMERS.get(language, _unchanged)


def _unchanged(word: str) -> str:
    return word


def _english(word: str) -> str:
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    return word if word.endswith(("us", "ss", "es")) else word[:-1]


_GERMAN_VOWELS = str.maketrans("äöüàáâòóôùúûìíîï", "aouaaaooouuuiiii")


def _german(word: str) -> str:
    if len(word) < 5:
        return word
    word = word.translate(_GERMAN_VOWELS)
    if len(word) > 6 and word.endswith("nen"):
        return word[:-3]
    if len(word) > 5 and word.endswith(("en", "se", "es", "er")):
        return word[:-2]
    return word[:-1] if word[-1] in "nesr" else word


def _french(word: str) -> str:
    if len(word) < 6:
        return word
    if word.endswith("x"):
        return f"{word[:-2]}l" if word.endswith("aux") else word[:-1]
    for ending in "sreé":
        word = word.removesuffix(ending)
    return word[:-1] if word[-1] == word[-2] and word[-1].isalpha() else word


_SPANISH_VOWELS = str.maketrans("áàâäéèêëíìîïóòôöúùûü", "aaaaeeeeiiiioooouuuu")


def _spanish(word: str) -> str:
    word = word.translate(_SPANISH_VOWELS)
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("eses"):
        return word[:-2]
    if word.endswith("ces"):
        return f"{word[:-3]}z"
    if word.endswith("es"):
        return word[:-2]
    return word[:-1] if word[-2] in "ao" else word


# Endings of cases, by how long a word has to be at least.
_RUSSIAN_CASES = (
    (7, "иями оями"),
    (6, "иям иях оях ями оям ами его ему ери ими ого ому ыми оев"),
    (5, "ая яя ях юю ах ею их ия ию ою ую ям ых ея ам ем ей ев ий им ое ой ом ов ые ый ым ми"),
    (4, "ь ы о а е и й у ю я"),
)
_RUSSIAN_ENDINGS = [(least, tuple(endings.split())) for least, endings in _RUSSIAN_CASES]


def _russian(word: str) -> str:
    word = word.replace("ё", "е")
    for least, endings in _RUSSIAN_ENDINGS:
        if len(word) >= least and word.endswith(endings):
            ending = next(ending for ending in endings if word.endswith(ending))
            word = word[: -len(ending)]
            break
    if len(word) > 3 and (word[-1] in "ьи" or word.endswith("нн")):
        word = word[:-1]
    return word


STEMMERS: dict[str, Callable[[str], str]] = {
    "de": _german, "en": _english, "es": _spanish, "fr": _french,
    "ru": _russian,
}  # fmt: skip


def asked_in(query: Iterable[str], languages: Iterable[str]) -> str:
    """Which of these languages the words of a query are in, as far as its function words tell;
    empty where none of them is a function word of one."""
    found = list(query)
    counts = {
        language: sum(word in FUNCTION_WORDS[language] for word in found)
        for language in languages
        if language in FUNCTION_WORDS
    }
    best = max(counts, key=lambda language: counts[language], default="")
    return best if best and counts[best] else ""


# Words that make a question or a sentence, whatever it is about.
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(listed.split())
    for language, listed in {
        "en": "a about an and are as at be been being but by can could did do does for from had "
        "has have how i if in into is it its me my of on or our should so that the their them "
        "there these they this those to was we were what when where which who whom whose why "
        "will with would you your s t m re ve ll d",
        "de": "aber als am an auf aus bei bin bis da dann das dass dem den der des die dies diese "
        "diesem diesen dieser dieses doch du durch ein eine einem einen einer eines er es für "
        "hat habe haben hatte ich ihr ihre im in ist ja kann können man mein mit muss nach noch "
        "nur ob oder sich sie sind so über um und uns unser von vor wann war warum was welche "
        "welchem welchen welcher welches wem wen wenn wer werden wie wieso wird wir wo woher "
        "wohin wurde zu zum zur",
        "es": "a al algo ante aquel como cómo con cual cuál cuales cuáles cuando cuándo cuanto "
        "cuánto cuanta cuánta cuantos cuántos cuantas cuántas de del desde donde dónde e el él "
        "ella ellos en entre era es esa ese eso esta está están este esto fue ha han hay la las le "
        "les lo los me mi más o para pero por porque puede que qué quien quién quienes se ser si "
        "sí sin sobre son su sus también te tiene tienen tu un una uno unos y ya yo",
        "fr": "à a ai au aux avec c ce ces cet cette comment d dans de des du elle en est et "
        "était être il ils j je l la le les leur leurs lui m ma mais me mes mon n ne nous on "
        "ont ou où par pas peut pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa "
        "se ses si son sont sur t ta te tes toi ton tu un une vos votre vous y",
        "ru": "а без бы был была были было быть в вам вас ваш вы где да для до его ее её если "
        "есть еще ещё же за зачем и из или им их к как какая какие каким каких какого какой какому "
        "какую кем когда кого кому которая которые который которых кто куда ли мне можно мой мы "
        "на над не него неё нет ни но о об однако он она они оно от откуда по под почему при с "
        "сколько со так там то только ты у уже чего чей чем что чтобы эта эти это этого этой этом "
        "этот я",
    }.items()
}
