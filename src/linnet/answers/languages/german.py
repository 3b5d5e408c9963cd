"""German."""

from linnet.answers.languages.language import STOP, A, B, Language, forms, pattern, sentences, words

GERMAN = Language(
    code="de",
    telling=words(
        "in diesem diese dieses dieser geht worum wovon der die das den dem des ein eine und "
        "ist sind war wie was wer wem wen wann wo warum "
        "wieso welche welcher welches welchen viele viel von für mit im zum zur nicht hat haben "
        "kann gibt über bei alle nenne zwischen ich man wird werden sich"
    ),
    function=words(
        "der die das den dem des ein eine einer einen einem eines und oder aber wenn von zu zum "
        "zur in im an am auf bei mit nach aus für als ist sind war waren sein seine ihr ihre wird "
        "werden wurde wurden hat haben hatte hatten es er sie wir ich man ihnen ihm sich auch "
        "nicht "
        "kein keine dass wie was wer wem wen wessen wo wann warum wieso weshalb woher wohin wozu "
        "womit welche welcher welches welchen welchem dieser diese dieses diesem diesen so nur "
        "noch über unter zwischen durch vor um bis kann können muss müssen soll sollen sehr mehr "
        "gibt bitte nenne nennen zeige sage mir uns viel viele genau eigentlich denn dazu davon "
        "dafür dabei deren dessen"
    ),
    interrogative=pattern(
        r"(?:(?:seit|bis|von|mit|für|an|auf|in|aus|zu|durch|bei|unter) )?(?:wie (?:viele?|lange?|"
        r"oft|weit|alt|groß|hoch|häufig|teuer)|wer|wen|wem|wessen|was|wann|wo|woher|wohin|wozu|"
        r"womit|wofür|wovon|wodurch|wor(?:in|auf|an|um|aus|über)|warum|wieso|weshalb|"
        r"welche[rsnm]?|wie)\b"
    ),
    auxiliaries=words(
        "ist sind war waren wird werden wurde wurden hat haben hatte kann können "
        "muss müssen soll sollen darf tut gibt"
    ),
    pronouns=words("es er sie ihn ihm ihnen das dies diese dieser dieses diesem"),
    persons=words("er ihn ihm sein seine seinen seiner seinem"),
    possessives=words(
        "sein seine seinen seiner seinem seines ihr ihre ihren ihrer ihrem ihres dessen deren"
    ),
    places=words("dort da"),
    impersonal=pattern(
        r"\bgibt es\b|\bes gibt\b|\b(?:ist|wäre) es \w+,? (?:zu|dass|wenn)\b|"
        r"\bgeht es\b|\bhandelt es sich\b"
    ),
    articles=words("der die das den dem des ein eine einen einem einer"),
    demonstratives=words("dieser diese dieses diesem diesen der die das dem den"),
    prepositions=words(
        "in im an am auf bei beim mit ohne nach vor aus für gegen durch um bis seit "
        "zu zum zur über unter zwischen während wegen als laut wenn"
    ),
    of=words("von vom des der"),
    joining=pattern(r",?\s+(?:und(?: auch)?|sowie|aber)\s+"),
    conjunctions=words("und oder"),
    lead=pattern(
        r"(?:ich habe (?:\w+ )?fragen?[\s,.:;]+|"
        r"(?:danke|vielen dank|ok|okay|gut|super|hallo|also|ja|nein|bitte|aha|alles klar)\b"
        r"[\s,.!;:]*|(?:(?:können|könnten) sie |kannst du )?(?:mir )?(?:bitte )?(?:sag(?:en)?|"
        r"erklär(?:e|en)?)(?: sie)?(?: mir)?(?: bitte)?[\s,:]+|ich (?:möchte|will|würde gern) "
        r"wissen[\s,:]+|weißt du[\s,:]+)"
    ),
    introduction=sentences(
        r"(?:hallo|hi|moin|servus|grüß gott|grüezi)(?: \w+){0,2}",
        r"guten (?:morgen|tag|abend)(?: \w+){0,2}|(?:schönen )?guten tag",
        r"ich bin (?:\w+ )?neu(?: hier| dabei| (?:im|in der|in dieser|in unserem) "
        r"(?:team|firma|unternehmen|büro|haus|schule|stadt))?",
        r"(?:ich heiße|mein name ist) [^.!?]{1,40}?",
        r"ich bin (?:gerade |gestern |kürzlich |letzte woche |neu )*eingezogen",
        r"ich (?:habe|hätte)(?: da)?(?: mal)? (?:eine|noch eine) (?:\w+ )?frage",
        r"(?:kann|darf|könnte) ich (?:dich |sie )?(?:etwas|was|eine frage) fragen",
        r"(?:kannst du|können sie|könnten sie|kann) (?:mir )?(?:jemand )?(?:bitte )?helfen",
        r"(?:vielen |besten |herzlichen )?dank(?:e)?(?: schön| sehr)?"
        r"(?: (?:für|im voraus|schon mal)[^.!?]{0,40}?)?",
        r"ich hoffe,? [^.!?]{1,60}?|(?:entschuldigung|entschuldigen sie)(?: [^.!?]{1,40}?)?",
    ),
    elliptic=pattern(
        r"(?:und\s+)?(?:was|wie)\s+(?:ist(?:\s+es)?|gilt|sieht\s+es|steht\s+es)\s+"
        r"(?:mit|bei|um|für|aus\s+mit)\s+"
        r"|(?:und|aber|oder)\s+(?:auch\s+)?|(?:das\s*)?(?:gleiche|selbe)\s+für\s+"
    ),
    aspects=words(
        "symptom symptome anzeichen ursache ursachen behandlung behandlungen therapie therapien "
        "folge folgen komplikationen prognose diagnose risiko risiken vorbeugung wirkung wirkungen "
        "nebenwirkungen preis preise kosten name namen zweck bedeutung definition funktion "
        "verwendung vorteil vorteile nachteil nachteile unterschied unterschiede beispiel "
        "beispiele "
        "art arten typ typen parameter argumente option optionen wert ergebnis einwohner "
        "einwohnerzahl bevölkerung hauptstadt fläche größe länge höhe gewicht alter datum frist "
        "adresse telefonnummer nummer farbe autor autoren eigentümer gründer geschichte herkunft "
        "ort lage rolle mitglieder merkmale voraussetzungen grenzen garantie lieferung zahlung "
        "strafe ausnahmen dauer häufigkeit grund gründe schritte kündigungsfrist"
    ),
    classes=words(
        "krankheit erkrankung störung syndrom infektion funktion methode klasse modul bibliothek "
        "befehl einstellung produkt gerät maschine firma unternehmen organisation dokument datei "
        "buch bericht vertrag gesetz regel stadt land ort gebäude projekt programm werkzeug "
        "modell medikament mittel person mann frau autor ereignis sache thema problem fall"
    ),
    entry_nouns=words(
        "zeile zeilen eintrag einträge reihe reihen datensatz datensätze element elemente "
        "tabelle liste protokoll log logs spalte personen leute dinge daten vorkommen"
    ),
    possessed="{what} von {whose}",
    inside="in",
    verbless=None,
    verb_last=pattern(
        r"^(?:ge\w+(?:t|en)|\w+iert|be\w+(?:t|en)|ver\w+(?:t|en)|er\w+(?:t|en)|"
        r"ent\w+(?:t|"
        r"en)|\w+(?:bar|lich|ig|isch)|hoch|groß|alt|lang|weit|teuer|offen|auf|ab|an|"
        r"aus)$"
    ),
    every=pattern(
        r"\b(?:liste|nenne|zeige?|gib|finde|such|nennen|zeigen|listen)\b(?: sie)?(?: mir| bitte|"
        r" uns)*"
        r" (?:alle|jede[nrs]?|sämtliche)\b|^(?:liste|zähle .* auf)\b|^(?:alle|sämtliche) \w+|"
        r"\bliste (?:aller|von allen)\b|\b(?:welche|was|wer) (?:sind|waren) alle\b"
    ),
    count=pattern(r"\bwie ?viele?\b|\banzahl (?:der|von|aller)\b|^zähle?\b"),
    summary=pattern(
        r"\bfass(?:e|en)?(?: sie)?(?: mir| bitte)* (?P<name>[^?!]{1,200}?) zusammen\b|"
        r"\b(?:zusammenfassung|überblick|übersicht) (?:von|über|des|der|zu[mr]?) (?P<about>[^?!]"
        r"{1,200})|\b(?:worum geht es|um was geht es|wovon handelt|was steht)(?: in| im| bei)? "
        r"(?P<says>[^?!]{1,200})|^(?:zusammenfassung|überblick|worum geht es)\W*$"
    ),
    this_document=pattern(
        r"^(?:es|das|dies|(?:(?:in )?(?:diese[mnrs]?|dem|das|der|des|die|den|alle[nr]?) )"
        r"(?:ganzen? )?(?:dokument|datei|bericht|text|buch|seite|pdf|artikel|vertrag|brief|mail)"
        r"(?:e|en|es|s|ern)?)$"
    ),
    comparisons=tuple(
        map(
            pattern,
            (
                rf"\bunterschiede?s? (?:in [^?.!;]{{1,60}}? )?zwischen {A} und {B}{STOP}",
                rf"\bvergleich(?:e|en)?(?: sie)? {A} (?:und|mit) {B}{STOP}",
                rf"\b(?:wie|worin) unterscheide[nt] sich {A} (?:und|von) {B}{STOP}",
                rf"\b(?:was|wer|welche[rs]?) (?:ist|sind|hat|"
                rf"kostet) (?P<by>[^?,:;]{{1,60}}?)[,:] ?{A} oder "
                rf"{B}{STOP}",
                rf"\b(?:ist|sind|war) {A} (?P<by>\w+er) als {B}{STOP}",
                rf"^{A} (?:vs\.?|versus|gegen) {B}{STOP}",
            ),
        )
    ),
    expects=(
        ("person", pattern(r"^\W*(?:von |mit |für |an )?(?:wer|wen|wem|wessen)\b")),
        (
            "time",
            pattern(
                r"^\W*(?:seit |bis |ab )?wann\b|\bwelche[smn]? (?:jahr|tag|datum|monat)\b|"
                r"\bwie (?:lange?|alt)\b|\bfrist\b"
            ),
        ),
        ("place", pattern(r"^\W*(?:wo|woher|wohin)\b|\bwelche[rsmn]? (?:stadt|land|ort)\b")),
        (
            "frequency",
            pattern(
                r"\bwie (?:häufig|selten|verbreitet)\b|\b(?:häufigkeit|prävalenz|"
                r"inzidenz|verbreitung)\b"
            ),
        ),
        (
            "amount",
            pattern(
                r"\bwie ?(?:viele?|oft|weit|hoch|groß|häufig|teuer|schnell)\b|"
                r"\b(?:preis|"
                r"kosten|kostet|anzahl|einwohnerzahl|größe|menge|häufigkeit)\b"
            ),
        ),
        (
            "reason",
            pattern(
                r"^\W*(?:warum|wieso|weshalb|wodurch)\b|\bursachen?\b|\bgr[uü]nde?\b|"
                r"\bverursacht\b"
            ),
        ),
        (
            "steps",
            pattern(
                r"\bwie (?:kann|soll|muss|könnte) (?:ich|man)\b|\bwie \w+e ich\b|"
                r"\bwie \w+t man\b|\bschritte?\b|\banleitung\b"
            ),
        ),
        (
            "list",
            pattern(
                r"\bwelche (?!r|s)|\b(?:was|welches) sind\b|\b(?:symptome|anzeichen|arten|"
                r"beispiele|teile|optionen)\b"
            ),
        ),
        (
            "definition",
            pattern(
                r"^\W*(?:was|wer) (?:ist|sind|war|waren|bedeutet|heißt)\b|"
                r"\bdefinition\b|^(?:erkläre?|beschreibe?)\b"
            ),
        ),
    ),
    cues={
        "frequency": pattern(
            r"\b(?:prävalenz|inzidenz|häufig|selten|betrifft (?:etwa|rund|"
            r"schätzungsweise|\d)|kommt bei|von \d|pro \d|schätzungsweise|fälle)"
        ),
        "reason": pattern(
            r"\b(?:weil|da|denn|wegen|aufgrund|durch|verursacht|ursache|deshalb|"
            r"daher|"
            r"führt zu|grund)\b"
        ),
        "place": pattern(r"\b(?:in|im|bei|aus|nach|am|an) (?:der |dem )?[A-ZÄÖÜ]\w"),
        "steps": pattern(
            r"^(?:zuerst|dann|danach|schließlich|um |drücken|klicken|öffnen|wählen|"
            r"nehmen|setzen|verwenden|starten|schalten|halten)\b"
        ),
        "list": pattern(
            r"\b(?:gehören|zählen|umfasst|umfassen|beispielsweise|wie etwa|folgende|"
            r"besteht aus|sind:)\b"
        ),
        "definition": pattern(
            r"\b(?:ist|sind|war|waren) (?:eine?[rsn]?|der|die|das)\b|"
            r"\b(?:bedeutet|"
            r"bezeichnet|heißt|nennt man|steht für)\b"
        ),
    },
    verb_after=words("kann können muss müssen soll sollen darf wird werden"),
    nouns_capitalised=True,
    entries=("1 Eintrag passt:", "{n} Einträge passen:"),
    not_found="Dazu wurde nichts gefunden: {what}",
    irregular=forms(
        "beginnen begann begannen begonnen, bleiben blieb blieben geblieben, bringen brachte "
        "brachten gebracht, erhalten erhielt erhielten, finden fand fanden gefunden, geben gab "
        "gaben gegeben, gehen ging gingen gegangen, gewinnen gewann gewannen gewonnen, kommen kam "
        "kamen gekommen, liegen lag lagen gelegen, nehmen nahm nahmen genommen, schließen schloss "
        "schlossen geschlossen, schreiben schrieb schrieben geschrieben, sinken sank sanken "
        "gesunken, sprechen sprach sprachen gesprochen, steigen stieg stiegen gestiegen, sterben "
        "starb starben gestorben, tragen trug trugen getragen, treffen traf trafen getroffen, "
        "treten trat traten getreten, verlieren verlor verloren, wachsen wuchs wuchsen gewachsen, "
        "ziehen zog zogen gezogen"
    ),
    defines=pattern(
        r"(?: \([^)]{1,80}\)|, [^,]{1,60},)? (?:ist|sind|war|waren|bedeutet|bezeichnet|"
        r"heißt|steht für)\b"
    ),
    holds=words("enthält enthalten steht stehen drin gespeichert sagt zeigt"),
    messages=words("mail e-mail email nachricht brief"),
    mails=pattern(
        r"\b(?:e-?mails?|mails?|nachricht(?:en)?|schr(?:ieb|eibt|eiben|ieben)|geschrieben|"
        r"(?:ab)?gesendet|(?:ab)?geschickt|schickte|sandte|absender(?:in)?)\b"
    ),
    addressed=pattern(r"\ban wen\b|\b(?:wem|empfänger(?:in)?|erhielt|bekam)\b"),
)
