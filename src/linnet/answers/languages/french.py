"""French."""

from linnet.answers.languages.language import STOP, A, B, Language, pattern, sentences, words

FRENCH = Language(
    code="fr",
    telling=words(
        "le la les un une des du est sont était qui que quel quelle quels quelles combien quand où "
        "pourquoi comment et pour avec dans sur au aux il elle ils elles ce cette tous toutes "
        "donne entre d'un d'une qu'est qu'est-ce est-ce c'est on peut à"
    ),
    function=words(
        "le la les l un une des du de d et ou mais si à au aux en dans sur par pour avec sans est "
        "sont était étaient être été a ont avait avoir il elle ils elles on nous vous je se s ce c "
        "cette ces son sa ses leur leurs qui que qu quoi dont où ne n pas plus aussi comme ainsi y "
        "même entre chez peut peuvent quel quelle quels quelles combien quand pourquoi comment "
        "quelqu est-ce t m me moi donne donnez donner liste svp faut puis dis expliquer"
    ),
    interrogative=pattern(
        r"(?:(?:de|à|avec|pour|depuis|par|dans|en|jusqu['’]à|chez) )?(?:combien|"
        r"qu['’]est-ce qu[ei]|"
        r"qu['’]est|est-ce que|quell?e?s?|qui|que|qu['’]|quand|où|d['’]où|pourquoi|comment|"
        r"lequel|laquelle|quoi)\b"
    ),
    auxiliaries=words("est sont était étaient a ont peut peuvent doit doivent faut fut sera va"),
    pronouns=words("il elle ils elles lui eux cela ça celui-ci celle-ci ceci y"),
    persons=words("il elle lui son sa ses"),
    possessives=words("son sa ses leur leurs"),
    places=words("y là là-bas"),
    impersonal=pattern(
        r"\bil y a\b|\by a-t-il\b|\bil (?:est|faut)\b|\bfaut-il\b|\bs['’]il\b|"
        r"\best-il \w+ (?:de|que)\b"
    ),
    articles=words("le la les l un une des du"),
    demonstratives=words("ce cet cette ces le la les l"),
    prepositions=words(
        "en dans sur par pour avec sans avant après contre sous depuis pendant "
        "chez entre vers si selon quand à au aux lors"
    ),
    of=words("de du des d"),
    joining=pattern(r",?\s+(?:et(?: aussi)?|ainsi que|mais)\s+"),
    conjunctions=words("et ou"),
    lead=pattern(
        r"(?:j['’]ai (?:\w+ )?questions?[\s,.:;]+|"
        r"(?:merci|bonjour|salut|ok|d['’]accord|bien|super|donc|alors|oui|non|"
        r"s['’]il (?:vous|te) "
        r"pla[iî]t)\b[\s,.!;:]*|(?:(?:pouvez|peux)[- ](?:vous|tu) )?(?:m['’]expliquer|me dire|"
        r"dis-moi|dites-moi|expliquez?(?:-moi)?)[\s,:]+|je (?:voudrais|veux) savoir[\s,:]+)"
    ),
    introduction=sentences(
        r"(?:bonjour|bonsoir|salut|coucou)(?: \w+){0,2}",
        r"je suis (?:\w+ )?(?:nouveau|nouvelle)(?: ici| dans (?:l['’](?:équipe|entreprise|"
        r"immeuble)|la (?:société|ville|maison)))?",
        r"(?:je m['’]appelle|mon nom est) [^.!?]{1,40}?|je viens d['’](?:emménager|arriver)",
        r"j['’]ai (?:juste )?une (?:\w+ )?question|j['’]aurais une (?:\w+ )?question",
        r"(?:pouvez-vous|peux-tu|pourriez-vous) m['’]aider",
        r"merci(?: (?:beaucoup|bien))?(?: (?:pour|de|d['’])[^.!?]{1,40}?)?|merci d['’]avance",
        r"j['’]espère [^.!?]{1,60}?|(?:excusez-moi|désolée?)(?: [^.!?]{1,40}?)?",
    ),
    elliptic=pattern(
        r"(?:et\s+)?(?:qu['’]en\s+est-il|quid)\s+(?:de\s+la|des|du|de|d['’])\s*"
        r"|(?:et\s+)?quant\s+(?:à\s+la|aux|au|à)\s+"
        r"|(?:et|mais|ou)\s+(?:aussi\s+)?|(?:la\s+)?même\s+(?:question|"
        r"chose)\s+pour\s+"
    ),
    aspects=words(
        "symptôme symptômes signe signes cause causes traitement traitements thérapie conséquences "
        "complications pronostic diagnostic risque risques prévention effet effets prix coût coûts "
        "nom noms but signification définition fonction utilisation avantage avantages "
        "inconvénient "
        "inconvénients différence différences exemple exemples type types paramètres arguments "
        "option options valeur résultat population capitale superficie taille longueur hauteur "
        "poids âge date délai adresse numéro couleur auteur auteurs propriétaire fondateur "
        "histoire "
        "origine lieu rôle membres caractéristiques conditions limites garantie livraison paiement "
        "pénalité exceptions durée fréquence raison raisons étapes"
    ),
    classes=words(
        "maladie affection trouble syndrome infection fonction méthode classe module bibliothèque "
        "commande option produit appareil machine société entreprise organisation document fichier "
        "livre rapport contrat loi règle ville pays lieu bâtiment projet programme outil modèle "
        "médicament personne homme femme auteur événement chose sujet problème cas"
    ),
    entry_nouns=words(
        "ligne lignes entrée entrées rangée enregistrement enregistrements élément éléments "
        "tableau liste journal journaux log logs colonne personnes choses données"
    ),
    possessed="{what} de {whose}",
    inside="à",
    verbless=pattern(
        r"^\W*(?:comment|pourquoi|quand|où|combien)(?: est-ce qu['’]on| peut-on| faut-il)? "
        r"(?:le |la |les |l['’])[a-zà-ÿ-]+\W*$"
    ),
    verb_last=pattern(
        r"^(?:\w+(?:é|ée|és|ées|er|ir|able|ible|ique|eux|euse)|fait|faite|né|née|"
        r"ouvert|ouverte|grand|grande|cher|chère|loin|haut)$"
    ),
    every=pattern(
        r"\b(?:liste|listez|énumère|énumérez|donne[zr]?|cite[zr]?|montre[zr]?|trouve[zr]?|"
        r"affiche[zr]?)"
        r"(?:[- ]moi)? (?:tous|toutes|la liste|chaque)\b|^(?:liste|listez|énumère|énumérez)\b|"
        r"^(?:tous|"
        r"toutes) les\b|\b(?:quels|quelles|qui) sont (?:tous|toutes)\b"
    ),
    count=pattern(r"\bcombien (?:de|d['’]|y)|\b(?:le )?nombre (?:de|d['’]|total)|^compte[zr]?\b"),
    summary=pattern(
        r"\brésume[rz]?(?:[- ]moi)?\s+(?P<name>[^?!]{1,200})|\b(?:résumé|aperçu|"
        r"synthèse) (?:de la|du|"
        r"des|de|d['’])\s*(?P<about>[^?!]{1,200})|\bde quoi (?:parle|parlent|traite|"
        r"s['’]agit-il dans)"
        r"(?:-t-il)?\s*(?P<says>[^?!]{0,200})|^(?:résumé|résume)\W*$"
    ),
    this_document=pattern(
        r"^(?:il|ça|cela|(?:ce|cet|cette|ces|le|la|les|l['’]|tous les)\s*(?:document|fichier|"
        r"rapport|"
        r"texte|livre|page|pdf|article|contrat|lettre|courriel)s?)$"
    ),
    comparisons=tuple(
        map(
            pattern,
            (
                rf"\bdifférences? entre {A} et {B}{STOP}",
                rf"\bcompare[rz]? {A} (?:et|avec|à) {B}{STOP}",
                rf"\ben quoi {A} (?:diffèrent?|est différente?|se distinguent?)(?:-\w+)? (?:de|"
                rf"d['’]) ?{B}{STOP}",
                rf"\b(?:lequel|laquelle|qui|quel\w* \w+) est (?P<by>(?:le |la )?(?:plus|"
                rf"moins) [^?,:;]{{1,60}}?)"
                rf"[,:] ?{A} ou {B}{STOP}",
                rf"\b{A} est[- ](?:il|elle) (?P<by>(?:plus|moins) \w+) que {B}{STOP}",
                rf"^{A} (?:vs\.?|versus|contre) {B}{STOP}",
            ),
        )
    ),
    expects=(
        ("person", pattern(r"^\W*(?:par |avec |pour |à |de )?qui\b")),
        (
            "time",
            pattern(
                r"^\W*(?:depuis |jusqu['’]à )?quand\b|\bquell?e (?:année|date|jour|"
                r"mois|heure)"
                r"\b|\bcombien de temps\b|\bquel âge\b|\bdélai\b"
            ),
        ),
        ("place", pattern(r"^\W*(?:d['’])?où\b|\bquel(?:le)? (?:ville|pays|lieu)\b")),
        (
            "frequency",
            pattern(
                r"\b(?:quelle est la fréquence|prévalence|incidence|"
                r"est-ce fréquent|à quel point est)\b"
            ),
        ),
        (
            "amount",
            pattern(
                r"\bcombien\b|\b(?:prix|coût|coûte|nombre|population|taille|fréquence|"
                r"pourcentage)\b"
            ),
        ),
        ("reason", pattern(r"^\W*pourquoi\b|\bcauses?\b|\braisons?\b|\bprovoque\b")),
        (
            "steps",
            pattern(
                r"\bcomment (?:puis-je|peut-on|faire|dois-je|faut-il|\w+er)\b|"
                r"\bétapes?\b"
            ),
        ),
        ("list", pattern(r"\bquel(?:le)?s sont\b|\b(?:symptômes|signes|types|exemples|options)\b")),
        (
            "definition",
            pattern(
                r"\bqu['’]est[- ]ce qu|^\W*(?:qui|quel(?:le)?) (?:est|sont|était)\b|"
                r"\bdéfinition\b|\bsignifie\b"
            ),
        ),
    ),
    cues={
        "frequency": pattern(
            r"\b(?:prévalence|incidence|rare|fréquent|touche (?:environ|près|"
            r"\d)|1 sur \d|pour \d|estimé|cas ont)"
        ),
        "reason": pattern(
            r"\b(?:parce qu|car|à cause|en raison|dû|due|causé|provoqué|grâce à|"
            r"puisque|"
            r"cause)"
        ),
        "place": pattern(r"\b(?:à|en|au|dans|près de|sur) (?:la |le |l['’])?[A-ZÀ-Þ]\w"),
        "steps": pattern(
            r"^(?:d['’]abord|ensuite|puis|enfin|pour |appuye|clique|ouvre|choisi|"
            r"utilise|"
            r"maintene|débranche)"
        ),
        "list": pattern(
            r"\b(?:comprend|comprennent|incluent|tels que|telles que|suivants?|"
            r"suivantes?|"
            r"sont :)"
        ),
        "definition": pattern(
            r"\b(?:est|sont|était) (?:une?|le|la|l['’])|\b(?:signifie|désigne|"
            r"s['’]appelle)\b"
        ),
    },
    inverted=pattern(r"\b(?P<verb>[a-zà-ÿ]+?)(?:-t)?-(?:il|elle|ils|elles)\b"),
    entries=("1 entrée correspond :", "{n} entrées correspondent :"),
    not_found="Rien n'a été trouvé à ce sujet : {what}",
    defines=pattern(r"(?: \([^)]{1,80}\)|, [^,]{1,60},)? (?:est|sont|était|signifie|désigne)\b"),
    holds=words("contient contiennent contenu écrit dit montre"),
    messages=words("mail e-mail courriel message lettre"),
    mails=pattern(
        r"\b(?:e-?mails?|mails?|courriels?|messages?|écri(?:t|te|vit|re|ts)|"
        r"envoy(?:é|ée|és|er|a)|expéditeur)\b"
    ),
    addressed=pattern(r"\bà qui\b|\b(?:destinataires?|reçu)\b"),
)
