"""The words that the rules know of each language: one :class:`Language` each, and a line in
:data:`LANGUAGES`.

They are closed classes (negation, months, articles, abbreviations), so a list of them can be
whole; what is open (synonyms, names) is nothing that a rule could decide by.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from linnet.data.language import identify


@dataclass(frozen=True, eq=False)
class Language:
    """One language's closed classes of words, all of them casefolded."""

    code: str
    decimal: str
    """The sign before decimals, a dot or a comma; the other one groups thousands."""
    negators: frozenset[str]
    articles: frozenset[str]
    auxiliaries: frozenset[str]
    """What comes into a sentence, or goes, with negation alone: English *does*."""
    reversing: frozenset[str]
    """Words after or before which a stretch of a sentence need not be what it says."""
    function: frozenset[str]
    """Words that say nothing about what a sentence is about."""
    months: dict[str, int]
    abbreviations: frozenset[str]
    """What ends in a dot within a sentence."""
    starters: frozenset[str] = frozenset()
    """Words that begin a sentence, also after an abbreviation."""
    nouns_capitalised: bool = False
    endings: tuple[str, ...] = ()
    """Of inflection, longest first."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _months(*lines: str) -> dict[str, int]:
    return {word: number for number, line in enumerate(lines, start=1) for word in line.split()}


ENGLISH = Language(
    code="en",
    decimal=".",
    negators=_set("not no never neither nor none nobody nothing nowhere without cannot"),
    articles=_set("a an the any"),
    auxiliaries=_set("do does did"),
    reversing=_set(
        "if unless false falsely myth untrue wrong wrongly incorrect incorrectly deny denies "
        "denied allege alleges alleged allegedly claim claims claimed may might could would "
        "should can't supposedly reportedly rumour rumoured rumor rumored believe believes "
        "believed thought think thinks hardly rarely seldom few little only except but however "
        "whether or doubt doubts doubted doubtful unlikely until before failed fails refuse "
        "refuses refused reject rejects rejected dispute disputes disputed contrary instead "
        "although though despite suspected hypothetically imagine pretend suppose lest barely "
        "scarcely hoax fiction possibly perhaps maybe probably likely said says say suggests "
        "suggested suggest"
    ),
    function=_set(
        "a an the this that these those and or but if of to in on at by for with from as is are "
        "was were be been being have has had do does did it its he she they them his her their "
        "i you we us our your my who whom which what when where why how there here not no than "
        "then so such can could may might will would shall should must also into about over "
        "under more most some any each other only very up out"
    ),
    months=_months(
        "january jan",
        "february feb",
        "march mar",
        "april apr",
        "may",
        "june jun",
        "july jul",
        "august aug",
        "september sep sept",
        "october oct",
        "november nov",
        "december dec",
    ),
    abbreviations=_set(
        "mr mrs ms dr prof rev st sr jr vs etc inc ltd co corp dept est fig figs no nos vol "
        "vols pp p ed eds al approx ca cf eq sec ch chap gen col lt sgt capt gov sen rep hon "
        "jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun e.g i.e "
        "a.m p.m u.s u.k ph.d m.d b.c a.d resp viz min max incl excl"
    ),
    starters=_set(
        "the this that these those it he she they we you i a an in on at for from by with as if "
        "when while after before since however moreover therefore thus but and or there here "
        "his her their its our what which who how why also most many some all each both such"
    ),
    endings=("ings", "ing", "ied", "ies", "ed", "es", "'s", "ly", "s", "e", "d", "y"),
)

GERMAN = Language(
    code="de",
    decimal=",",
    negators=_set(
        "nicht nie niemals weder noch ohne nichts niemand niemanden niemandem nirgends "
        "nirgendwo kein keine keiner keinen keinem keines keinerlei keineswegs keinesfalls nein"
    ),
    articles=_set("der die das den dem des ein eine einer einen einem eines"),
    auxiliaries=frozenset(),
    reversing=_set(
        "wenn falls sofern falsch fälschlich fälschlicherweise mythos unwahr irrtum irrtümlich "
        "angeblich vermeintlich leugnet leugnen leugnete bestreitet bestreiten bestritt "
        "behauptet behaupten behauptete könnte könnten würde würden sollte sollten soll sollen "
        "darf dürfte dürften möglicherweise vielleicht vermutlich wahrscheinlich wohl kaum "
        "selten wenig wenige nur außer aber jedoch ob oder zweifel zweifelt zweifelhaft "
        "unwahrscheinlich bis bevor sonst sondern obwohl trotz statt anstatt glaubt glaubte "
        "glauben dachte dachten sei seien wäre wären hätte hätten gerücht scheitert scheiterte "
        "abgelehnt widerlegt sagt sagte kann können"
    ),
    function=_set(
        "der die das den dem des ein eine einer einen einem eines und oder aber wenn von zu zum "
        "zur in im an am auf bei mit nach aus für als ist sind war waren sein seine ihr ihre "
        "wird werden wurde wurden hat haben hatte hatten es er sie wir ihnen ihm sich auch "
        "nicht kein keine dass daß wie was wer wo wann warum dieser diese dieses diesem diesen "
        "man so nur noch über unter durch vor um bis kann können muss müssen soll sehr mehr"
    ),
    months=_months(
        "januar jänner jan",
        "februar feber feb",
        "märz mär mrz",
        "april apr",
        "mai",
        "juni jun",
        "juli jul",
        "august aug",
        "september sep sept",
        "oktober okt",
        "november nov",
        "dezember dez",
    ),
    abbreviations=_set(
        "dr prof hr fr bzw ca usw etc evtl ggf inkl exkl vgl nr abs art abb bd hrsg jh jhd sog "
        "st str tel u.a z.b d.h i.d.r u.u z.t o.ä u.ä s.o s.u v.a z jan feb mär apr jun jul aug "
        "sep sept okt nov dez mio mrd tsd min max geb gest bspw zzgl allg engl lat"
    ),
    starters=_set(
        "der die das ein eine es er sie wir ich in im am an auf bei mit nach aus für als wenn "
        "während danach dann dabei damit daher jedoch aber und oder hier dort diese dieser "
        "dieses"
    ),
    nouns_capitalised=True,
    endings=("ungen", "ung", "enen", "ern", "en", "er", "es", "em", "te", "et", "e", "n", "s", "t"),
)

FRENCH = Language(
    code="fr",
    decimal=",",
    negators=_set("ne n' aucun aucune sans ni non nul nulle jamais"),
    articles=_set("le la les l' un une des du de d'"),
    auxiliaries=_set("pas point"),
    reversing=_set(
        "si faux fausse faussement mythe erreur prétend prétendent prétendait prétendu "
        "prétendue nie nient niait démenti dément pourrait pourraient serait seraient aurait "
        "auraient devrait devraient peut peuvent semble semblent peut-être probablement "
        "possiblement rarement peu seulement que sauf mais cependant toutefois ou doute doutent "
        "improbable jusqu'à avant pas plus point rien personne guère sinon quoique malgré croit "
        "croient croyait pensait pense rumeur échoue échoué refuse refusé rejeté rejette dit "
        "disait selon"
    ),
    function=_set(
        "le la les l' un une des du de d' et ou mais si à au aux en dans sur par pour avec sans "
        "est sont était étaient être été a ont avait avaient avoir il elle ils elles on nous "
        "vous je se s' ce c' cette ces son sa ses leur leurs qui que qu' quoi dont où ne n' pas "
        "plus aussi comme ainsi très y même entre chez peut peuvent"
    ),
    months=_months(
        "janvier janv",
        "février févr fév",
        "mars",
        "avril avr",
        "mai",
        "juin",
        "juillet juil",
        "août aout",
        "septembre sept",
        "octobre oct",
        "novembre nov",
        "décembre déc",
    ),
    abbreviations=_set(
        "m mm mme mlle dr pr prof st ste etc env cf p pp vol n° no art fig av apr janv févr fév "
        "avr juil sept oct nov déc c.-à-d p.ex ex éd min max"
    ),
    starters=_set(
        "le la les un une des il elle ils elles on nous vous je ce cette ces dans en sur par "
        "pour avec mais et ou puis ensuite cependant toutefois ainsi après avant"
    ),
    endings=("ement", "aient", "ées", "ait", "és", "ée", "er", "ent", "es", "é", "e", "s", "x"),
)

SPANISH = Language(
    code="es",
    decimal=",",
    negators=_set(
        "no nunca jamás ningún ninguno ninguna ningunos ningunas nada nadie tampoco sin ni"
    ),
    articles=_set("el la los las un una unos unas lo"),
    auxiliaries=frozenset(),
    reversing=_set(
        "si falso falsa falsamente mito erróneo errónea niega niegan negó afirma afirman afirmó "
        "supuesto supuestamente presunto presuntamente podría podrían sería serían habría "
        "habrían debería deberían puede pueden quizás quizá tal acaso probablemente "
        "posiblemente rara raramente poco pocos pocas solo sólo solamente excepto salvo pero "
        "sino embargo aunque o duda dudan dudoso improbable hasta antes cree creen creía "
        "pensaba piensa rumor fracasa fracasó rechaza rechazó rechazado dice dijo según"
    ),
    function=_set(
        "el la los las lo un una unos unas de del al a y e o u pero si en con por para sin "
        "sobre entre es son era eran ser sido está están estar ha han había haber fue fueron se "
        "su sus le les que qué quien quién cuyo como cómo cuando cuándo donde dónde no ni más "
        "muy también este esta estos estas ese esa eso esto él ella ellos ellas nos yo tú ya "
        "puede pueden"
    ),
    months=_months(
        "enero ene", "febrero feb", "marzo mar", "abril abr", "mayo", "junio jun", "julio jul",
        "agosto ago", "septiembre setiembre sep sept", "octubre oct", "noviembre nov",
        "diciembre dic",
    ),
    abbreviations=_set(
        "sr sra srta dr dra prof d dña ud uds etc aprox pág págs vol núm art fig ej p.ej ee.uu "
        "a.c d.c ene feb abr jun jul ago sep sept oct nov dic min max tel av gral lic ing"
    ),
    starters=_set(
        "el la los las un una en por para con pero y o después luego entonces sin además "
        "también este esta estos estas él ella ellos ellas se su sus no"
    ),
    endings=("mente", "aban", "ados", "adas", "ado", "ada", "aba", "ción", "es", "as", "os", "ar",
             "er", "ir", "an", "en", "a", "o", "e", "s"),
)  # fmt: skip

LANGUAGES: dict[str, Language] = {
    language.code: language for language in (ENGLISH, GERMAN, FRENCH, SPANISH)
}
"""Those that there are rules for, by ISO 639-1."""

ABBREVIATIONS = frozenset().union(*(language.abbreviations for language in LANGUAGES.values()))
STARTERS = frozenset().union(*(language.starters for language in LANGUAGES.values()))
MONTHS: dict[str, int] = {}
for _language in reversed(LANGUAGES.values()):
    MONTHS.update(_language.months)

_SAMPLE = 4000
_SURE = 0.9


def language_of(text: str, words: Collection[str]) -> str:
    """The ISO 639-1 code of the language that a text is in; empty where that cannot be told.

    ``words``: those of the text, casefolded. A short text is told by its function words, where
    the identifier is not sure.
    """
    code, probability = identify(text[:_SAMPLE])
    if probability >= _SURE:
        return code
    hits = {own.code: sum(word in own.function for word in words) for own in LANGUAGES.values()}
    best = max(hits, key=lambda name: hits[name])
    if hits[best] and sum(found == hits[best] for found in hits.values()) == 1:
        # Portuguese and Dutch share function words with languages that are here.
        return best if code == best or code in LANGUAGES or probability < 0.5 else ""
    return code if code in LANGUAGES else ""


def text_language(text: str) -> str:
    """The language of a text, of which a sample is read."""
    words = [word.strip(".,;:!?()\"'").casefold() for word in text[:2000].split()]
    return language_of(text, words)


@lru_cache(maxsize=1 << 16)
def stem(word: str, language: Language) -> str:
    """A casefolded word without an ending of inflection: forms of one word mostly meet in it."""
    if len(word) > 4:
        for ending in language.endings:
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                return word[: -len(ending)]
    return word
