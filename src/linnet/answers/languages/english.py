"""English."""

from linnet.answers.languages.language import (
    BY,
    STOP,
    A,
    B,
    Language,
    forms,
    pattern,
    sentences,
    words,
)

ENGLISH = Language(
    code="en",
    telling=words(
        "the of is are was were does did do what who whom whose which how why when where and "
        "with about its their they this these those has have can should there between please "
        "give tell list name all not than"
    ),
    function=words(
        "a an the this that these those and or but if of to in on at by for from with as is are "
        "was were be been being have has had do does did it its he she they them his her their "
        "i you we us our your my me who whom whose which what when where why how there here not "
        "no than then so such can could may might will would shall should must also into about "
        "over under between through during more most some any each other only very up out "
        "please tell give show name list much many exactly actually mean again et al "
        "mr mrs ms asap"
    ),
    interrogative=pattern(
        r"(?:(?:by|with|for|to|from|of|in|on|at|since|until|under|about) )?"
        r"(?:how (?:much|many|long|often|far|old|big|large|high|common|rare)|what (?:kind|sort|"
        r"type)s? of|who(?:m|se)?|what(?:'s)?|which|when|where|why|how)\b"
    ),
    auxiliaries=words(
        "is are was were be does do did can could should will would must may might has have had"
    ),
    pronouns=words("it they them this that these those he she him one ones"),
    persons=words("he she him his her"),
    possessives=words("its their his her"),
    places=words("there"),
    impersonal=pattern(
        r"\b(?:is|was|would|will) it \w+ (?:to [a-z]|that |for |if |when )|\bdoes it (?:take|"
        r"mean|matter)"
        r" (?:to|when|if|for)\b|\b(?:is|are|was|were) there\b|\bit is \w+ (?:to|that)\b"
        r"|\bsaid that\b|\bso that\b"
    ),
    articles=words("the a an"),
    demonstratives=words("this that these those the such"),
    prepositions=words(
        "in on at by for from with without during after before about against "
        "under over to into through between among since until as according if when "
        "while because per via than like"
    ),
    of=words("of"),
    joining=pattern(r",?\s+(?:and(?: also)?|as well as|plus|but)\s+"),
    conjunctions=words("and or"),
    lead=pattern(
        r"(?:i have (?:\w+ )?questions?[\s,.:;]+|"
        r"(?:thanks|thank you|ok|okay|great|good|hi|hello|hey|well|so|right|yes|no|please|sure|"
        r"i see)\b[\s,.!;:]*|(?:(?:can|could|would) you (?:please )?|please )?(?:tell me|explain|"
        r"say|answer both|answer)\b(?: to me)?[\s,:]+|i(?:'d| would) like to know[\s,:]+|"
        r"i want to know[\s,:]+|do you know[\s,:]+)"
    ),
    introduction=sentences(
        r"(?:hi|hello|hey|dear)(?: \w+){0,2}|good (?:morning|afternoon|evening|day)(?: \w+){0,2}",
        r"i(?:['’]m| am) (?:\w+ )?new(?: (?:here|around|to (?:this|(?:the|your) "
        r"(?:team|company|office|job|house|building|school|city|town))))?",
        r"my name(?: is|['’]s) [^.!?]{1,40}?|this is \w+ (?:speaking|here)",
        r"(?:i )?(?:have )?(?:just )?(?:moved in|joined(?: you| us| the (?:team|company))?|"
        r"started(?: here| working here)?)(?: here| today| yesterday| recently|"
        r" (?:last|this) \w+| \w+ \w+ ago)*",
        r"(?:i(?:['’]ve| have)(?: got)? )?(?:just )?(?:a|one|another) (?:\w+ )?question"
        r"(?: for you)?",
        r"(?:can|could|may) i ask (?:you )?(?:something|(?:a|one) (?:\w+ )?question)",
        r"(?:can|could) (?:you|someone|anyone) (?:please )?help(?: me)?(?: out| please)?",
        r"(?:many )?thank(?:s| you)(?: (?:so|very) much| a lot)?(?: (?:for|in) [^.!?]{1,40}?)?",
        r"i hope (?:you|this|that|it) [^.!?]{1,60}?|(?:i['’]m )?sorry (?:to|for) [^.!?]{1,40}?",
        r"nice to meet you|how are you(?: doing)?(?: today)?|please help(?: me)?",
    ),
    elliptic=pattern(
        r"(?:and\s+)?(?:what|how)\s+about\s+|(?:and\s+)?as\s+for\s+|(?:and|but|or)\s+(?:also\s+|then\s+)?"
        r"|(?:the\s+)?same\s+(?:question\s+)?(?:for|with|about)\s+"
    ),
    aspects=words(
        "symptom symptoms sign signs cause causes treatment treatments therapy therapies "
        "complication complications outlook prognosis diagnosis risk risks factors factor "
        "prevention effect effects price prices cost costs name names purpose meaning definition "
        "function use uses usage advantage advantages disadvantage disadvantages benefit benefits "
        "difference differences example examples type types kind kinds parameter parameters "
        "argument arguments option options default value result return population capital area "
        "size length height weight age date deadline address phone number colour color author "
        "authors owner founder history origin location role members features feature "
        "requirements limits limit warranty delivery payment penalty penalties exceptions "
        "exception duration frequency incidence prevalence genes gene inheritance tests test "
        "steps way ways reason reasons consequence consequences side stages stage"
    ),
    classes=words(
        "disease condition disorder syndrome illness infection function method class module "
        "library command option setting parameter product device machine company organisation "
        "organization institution document file book report contract law rule city country "
        "place town building project program tool model drug medicine treatment test person man "
        "woman author event thing one topic subject problem case item process"
    ),
    entry_nouns=words(
        "line lines entry entries row rows record records item items element elements table "
        "list log logs column people person persons thing things data information mention "
        "mentions occurrence occurrences"
    ),
    possessed="the {what} of {whose}",
    inside="in",
    verbless=None,
    verb_last=pattern(
        r"^(?:\w+(?:ed|ing|able|ible|ive|ous|al|ent|ant|ic|ary|ful|less)|born|made|found|held|"
        r"built|known|run|done|sold|paid|written|open|closed|used|common|rare|free|safe|big|"
        r"large|old|far|long|high|tall|much|work|works|like|mean|means|called|due|worth|similar|"
        r"dissimilar|better|worse)$"
    ),
    every=pattern(
        r"\b(?:list|name|show|give(?: me)?|find|enumerate|get|print) (?:me )?(?:all|every|each|the "
        r"(?:full|complete) list)\b|^(?:list|enumerate)\b|\b(?:what|which|who) are all\b|"
        r"\ball (?:of )?(?:the|those|these) \w+ (?:that|which|who|with|in|from)\b|\b(?:a|the) "
        r"(?:full |complete )?list of (?:all|every)\b|^(?:all|every) (?!in all\b)\w+"
    ),
    count=pattern(r"\bhow many\b|\b(?:the |total )number of\b|^count\b"),
    summary=pattern(
        r"\b(?:summari[sz]e|sum up|(?:give (?:me )?|write )?(?:a |an |the )?(?:short |brief )?"
        r"(?:summary|overview|abstract|gist) of)\s+(?P<name>[^?!]{1,200})|\bwhat(?:'s| is| are|"
        r" does)\s+(?P<about>[^?!]{1,200}?)\s+(?:all )?about\s*(?:\?|$)|\bwhat does (?P<says>(?:"
        r"this|the) (?:document|file|report|text|paper|book|page)) say\s*(?:\?|$)|^(?:summary|"
        r"summari[sz]e|overview)\W*$"
    ),
    this_document=pattern(
        r"^(?:it|this|that|these|those|(?:this|the|that|my|these|those|the whole|all(?: the)?) "
        r"(?:whole )?(?:document|file|report|text|paper|book|page|pdf|article|contract|letter|mail|"
        r"email)s?)$"
    ),
    comparisons=tuple(
        map(
            pattern,
            (
                rf"\bdifferences? (?P<by>in [^?.!]{{1,60}}? )?"
                rf"between {A} and (?:between )?{B}{STOP}",
                rf"\bcompare {A} (?:and|with|to|against|versus|vs\.?) {B}(?: (?:by|in terms of|"
                rf"regarding|"
                rf"with respect to) {BY})?{STOP}",
                rf"\bhow (?:do|does|is|are) {A} (?:differ|different) from {B}{STOP}",
                rf"\b(?:which|what|who) (?:(?:one|of them) )?(?:is|are|was|has|have|costs?|"
                rf"weighs?|lasts?)"
                rf" (?P<by>(?:more |less |the )?[^?,:;]{{1,60}}?)[,:]? ?(?:,|:|"
                rf"-) ?{A},? or {B}{STOP}",
                rf"\b(?:is|are|was|were|does|do) {A} (?P<by>\w+er|(?:more|less) \w+|"
                rf"as \w+) (?:than|as) "
                rf"{B}{STOP}",
                rf"^(?:what about )?{A} (?:vs\.?|versus) {B}{STOP}",
            ),
        )
    ),
    expects=(
        (
            "person",
            pattern(
                r"^\W*(?:by |with |to |for |from )?who(?:m|se)?\b(?! (?:gets?|is at|"
                r"are at))"
            ),
        ),
        (
            "time",
            pattern(
                r"^\W*(?:since |until |by )?when\b|\b(?:what|which) (?:year|date|day|"
                r"month|"
                r"time|century)\b|\bhow long\b|\bhow old\b|\bdeadline\b"
            ),
        ),
        ("place", pattern(r"^\W*where\b|\b(?:what|which) (?:city|country|place|town|address)\b")),
        (
            "frequency",
            pattern(
                r"\bhow (?:common|rare|frequent|widespread|many people (?:have|"
                r"are affected))\b|\b(?:prevalence|incidence|frequency)\b"
            ),
        ),
        (
            "amount",
            pattern(
                r"\bhow (?:many|much|often|far|high|big|large|tall|fast)\b|"
                r"\b(?:price|cost|costs|number|population|size|amount|percentage|"
                r"prevalence|incidence|frequency|rate)\b"
            ),
        ),
        (
            "reason",
            pattern(
                r"^\W*why\b|\b(?:what|which [\w ]{1,40}) (?:causes?|are the causes?|"
                r"is the cause|leads? to|"
                r"is the reason)\b|\breasons? (?:for|why)\b|\bcaused by\b"
            ),
        ),
        (
            "steps",
            pattern(
                r"\bhow (?:do|can|should|would|could) (?:i|you|we|one)\b|\bhow to\b|"
                r"\bsteps?\b|\binstructions for\b"
            ),
        ),
        (
            "list",
            pattern(
                r"\b(?:what|which) are (?:the|some|possible|common)\b|\b(?:symptoms|signs|"
                r"types|kinds|causes|examples|parts|options|arguments|parameters)\b"
                r"|\bincludes?\b"
            ),
        ),
        (
            "definition",
            pattern(
                r"^\W*(?:what|who) (?:is|are|was|were|does [^?]{1,60} (?:mean|stand for)|"
                r"do you know "
                r"about)\b|\bdefin(?:e|ition)\b|\bwhat's\b|\bmean(?:ing)?\b|"
                r"\b(?:short|long form) (?:for|of)\b|"
                r"^(?:explain|describe)\b"
            ),
        ),
    ),
    cues={
        "frequency": pattern(
            r"\b(?:prevalence|incidence|affects? (?:about|an estimated|"
            r"approximately|fewer|more|at least|up to|\d)|occurs? in|rare|"
            r"(?:more|less|very) common (?:in|among|than)|common in|1 in \d|estimated|"
            r"cases? (?:have|has) been|per \d|been (?:reported|identified|"
            r"described))"
        ),
        "reason": pattern(
            r"\b(?:because|due to|caused? by|causes?|results? (?:from|in)|leads? to|"
            r"since|therefore|reason|mutations? in|so that|arises? from)\b"
        ),
        "place": pattern(r"\b(?:in|at|near|from|to|on) (?:the )?[A-Z]\w"),
        "steps": pattern(
            r"^(?:first|then|next|finally|to \w+|if you|you (?:can|should|must)|"
            r"use|press|"
            r"click|run|open|select|call|set|type|choose|install|hold|remove|add)\b"
        ),
        "list": pattern(
            r"\b(?:include|includes|including|such as|are:|the following|consists? of|"
            r"may be|types of)\b"
        ),
        "definition": pattern(
            r"\b(?:is|are|was|were) (?:an?|the|one of|any|type)\b|\b(?:means|"
            r"refers "
            r"to|is called|is defined|stands for|describes?)\b"
        ),
    },
    verb_after=words("do does did can could should will would must may might"),
    entries=("1 entry matches:", "{n} entries match:"),
    not_found="Nothing was found about: {what}",
    irregular=forms(
        "arise arose arisen, become became, begin began begun, break broke broken, bring brought, "
        "build built, buy bought, catch caught, choose chose chosen, come came, draw drew drawn, "
        "drink drank drunk, drive drove driven, eat ate eaten, fight fought, flee fled, fly flew "
        "flown, forget forgot forgotten, freeze froze frozen, get got gotten, give gave given, "
        "go went gone, grow grew grown, hang hung, hear heard, hide hid hidden, hold held, keep "
        "kept, know knew known, lead led, lend lent, lose lost, make made, mean meant, meet met, "
        "overcome overcame, overtake overtook, pay paid, ride rode ridden, ring rang rung, run "
        "ran, say said, seek sought, sell sold, send sent, shake shook shaken, show shown, shrink "
        "shrank shrunk, sing sang sung, sink sank sunk, sleep slept, speak spoke spoken, spend "
        "spent, stand stood, steal stole stolen, swear swore sworn, swim swam swum, take took "
        "taken, teach taught, tell told, think thought, throw threw thrown, undergo underwent "
        "undergone, understand understood, wake woke woken, wear wore worn, win won, withdraw "
        "withdrew withdrawn, write wrote written"
    ),
    asks_cause=pattern(
        r"\b(?:what|which)\b(?! (?:do|does|did|can|may|could|might)\b).{0,30}\bcauses?\b|"
        r"\bcaused by\b|\bcauses? of\b"
    ),
    asks_long_form=pattern(r"\bstands? for\b|\bshort for\b|\blong form of\b"),
    asks_manner=pattern(r"\bhow (?:is|are|was|were) [^?,;]{1,120} (?P<v>\w{2,}(?:ed|en|wn|ght))\?"),
    caused=pattern(
        r"\b(?:is|are|was|were|be) (?:\w+ ){0,2}caused by\b|\b(?:results?|arises?) from\b|"
        r"\b(?:is|are) (?:\w+ )?due to\b|\bcauses? of\b"
    ),
    causes=pattern(r" (?:\w+ )?(?:causes?|leads? to|results? in)\b"),
    relative=pattern(r"\b(?:that|which|who)\b"),
    counted=pattern(
        r"\b(?:1|one) (?:in|per|out of) (?:\w+ ){0,2}\d|\bestimated\b|\bpercent\b|\d ?%|"
        r"\b(?:prevalence|incidence)\b|\b(?:is|are) (?:a |an )?(?:\w+ )?rare\b|"
        r"\bper [\d,]{4,}|\b(?:is|are) (?:very |relatively )?(?:un)?common\b"
    ),
    figures=pattern(
        r"\b(?:1|one) (?:in|per|out of) (?:\w+ ){0,2}\d|\bper (?:\w+ )?[\d,]{4,}|"
        r"\b(?:prevalence|incidence|frequency)\b|\baffects? (?:\w+ ){0,4}\d"
    ),
    tells_more=pattern(
        r" (?:(?:usually|often|sometimes|thought|believed|estimated|considered|inherited|caused|"
        r"diagnosed|treated|due|the (?:most|second|leading|main|only)|one of|"
        r"an? (?:\w+ )?(?:cause|form|type|part|member|result) of)\b)"
    ),
    defines=pattern(
        r"(?: \([^)]{1,80}\)|, [^,]{1,60},)? (?:is|are|was|were|means|refers? to|"
        r"stands? "
        r"for|describes?|denotes?)\b"
    ),
    holds=words(
        "contain contains store stored hold holds "
        "written say says tell tells show shows include includes cover covers inside"
    ),
    messages=words("mail email e-mail message letter"),
    mails=pattern(
        r"\b(?:e-?mails?|mails?|messages?|wr(?:ote|ites?|itten|iting)|sen[dt]s?|senders?|replied)\b"
    ),
    addressed=pattern(
        r"\bto whom\b|\b(?:recipients?|addressees?|receive[ds]?)\b|^\W*whom\b|"
        r"^\W*who (?:did|does|do)\b.*\bto\b|^\W*who\b.*\bto\W*$"
    ),
)
