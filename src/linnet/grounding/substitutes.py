"""What a word may be exchanged for when claims are made of a sentence, by language.

Synonyms keep what is said (about), the rest changes it.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in text.split())


SMALL_NUMBERS = {
    "en": _words("zero one two three four five six seven eight nine ten eleven twelve"),
    "de": _words("null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"),
    "fr": _words("zéro un deux trois quatre cinq six sept huit neuf dix onze douze"),
    "es": _words("cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce"),
}

SYNONYMS = {
    "en": _pairs(
        "physician=doctor doctor=physician illness=disease disease=illness usually=generally "
        "often=frequently people=individuals individuals=people children=kids begin=start "
        "begins=starts occurs=happens occur=happen causes=triggers cause=trigger many=numerous "
        "different=various various=different important=significant include=comprise "
        "includes=comprises helps=assists help=assist shows=demonstrates show=demonstrate "
        "big=large large=big severe=serious serious=severe common=widespread rare=uncommon "
        "medicine=medication medicines=medications medication=medicine treat=manage "
        "treatment=therapy therapy=treatment symptoms=signs sometimes=occasionally "
        "problems=difficulties problem=difficulty reduce=lower reduces=lowers "
        "increase=raise increases=raises called=termed uses=employs use=employ "
        "gives=provides give=provide makes=produces make=produce while=whereas because=since "
        "also=additionally however=nevertheless value=quantity method=procedure quickly=rapidly "
        "type=kind types=kinds found=discovered required=requisite requires=needs require=need"
    ),
    "de": _pairs(
        "oft=häufig häufig=oft Arzt=Mediziner Krankheit=Erkrankung Erkrankung=Krankheit "
        "wichtig=bedeutend viele=zahlreiche beginnt=startet verschiedene=unterschiedliche "
        "bekommen=erhalten erhält=bekommt auch=ebenfalls etwa=ungefähr groß=riesig "
        "benutzt=verwendet verwendet=benutzt verwenden=benutzen Menschen=Personen meist=meistens "
        "Haus=Gebäude"
    ),
    "fr": _pairs(
        "souvent=fréquemment médecin=docteur maladie=affection important=essentiel "
        "commence=débute utilise=emploie utiliser=employer plusieurs=divers aussi=également "
        "personnes=gens grande=vaste maison=demeure"
    ),
    "es": _pairs(
        "médico=doctor enfermedad=dolencia importante=esencial comienza=empieza utiliza=emplea "
        "usar=emplear varios=diversos también=igualmente personas=individuos "
        "frecuentemente=habitualmente casa=vivienda grande=enorme"
    ),
}

UNIT_NAMES = [
    _words(line)
    for line in (
        "seconds minutes hours days weeks",
        "second minute hour day week",
        "months years decades",
        "month year decade",
        "milligrams grams kilograms",
        "millimeters centimeters meters feet inches yards miles kilometers",
        "kilobytes megabytes gigabytes",
        "Sekunden Minuten Stunden Tage Wochen",
        "Monate Jahre",
        "Milligramm Gramm Kilogramm",
        "Zentimeter Meter Kilometer",
        "secondes minutes heures jours semaines",
        "mois ans",
        "centimètres mètres kilomètres",
        "grammes kilogrammes",
        "segundos minutos horas días semanas",
        "meses años",
        "centímetros metros kilómetros",
        "gramos kilogramos",
    )
]
"""Units of one dimension and number each."""

AUXILIARIES = {
    "en": _words("is are was were can may will has should must could"),
    "de": _words("ist sind war waren wird werden kann hat haben"),
    "fr": _words("est sont était a peut ont"),
    "es": _words("es son era fue está están puede ha han"),
}
"""Verbs that are denied by a word beside them."""

VERBS = {
    "en": _words(
        "causes cause affects affect treats treat contains contain includes include produces "
        "produce regulates inhibits destroys makes controls helps supports replaces uses calls "
        "returns attacks blocks carries follows damages"
    ),
    "de": _words("verursacht enthält behandelt ersetzt enthalten zerstört folgt"),
    "fr": _words("cause contient provoque remplace contiennent produit"),
    "es": _words("causa contiene provoca produce contienen reemplaza"),
}
"""Between a subject and an object, which do not mean the same the other way round."""

AFTER_OBJECTS = frozenset(
    _words(
        "and or which that who in by for with to from when if und oder die der das in bei für mit "
        "et ou qui que dans par pour avec y o en por con para"
    )
)
"""Words that an object ends before."""
