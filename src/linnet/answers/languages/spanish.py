"""Spanish."""

from linnet.answers.languages.language import STOP, A, B, Language, pattern, sentences, words

SPANISH = Language(
    code="es",
    telling=words(
        "el la los las un una del al y es son era fue qué quién quiénes cuál cuáles cuándo cuánto "
        "cuánta cuántos cuántas dónde cómo por para con en su sus se que no hay está están todos "
        "todas lista entre de"
    ),
    function=words(
        "el la los las lo un una unos unas de del al a y e o u pero si en con por para sin sobre "
        "entre es son era eran ser sido fue fueron está están estar ha han había haber hay se "
        "su sus "
        "le les que qué quien quién quienes quiénes cuyo cual cuál cuales cuáles como cómo cuando "
        "cuándo cuanto cuánto cuanta cuánta cuántos cuántas donde dónde no ni más muy también este "
        "esta estos estas ese esa eso esto él ella ellos ellas nos yo tú ya puede pueden me "
        "dime da "
        "dar favor nombra muestra tiene tienen"
    ),
    interrogative=pattern(
        r"(?:(?:de|a|con|para|desde|hasta|por|en) )?(?:cuánt[oa]s?|qué|quién(?:es)?|cuál(?:es)?|"
        r"cuándo|dónde|adónde|por qué|cómo)\b"
    ),
    auxiliaries=words(
        "es son era eran fue fueron está están ha han puede pueden debe deben se hay"
    ),
    pronouns=words("él ella ellos ellas ello esto eso este ese esta esa estos estas"),
    persons=words("él ella"),
    possessives=words("su sus"),
    places=words("allí allá ahí"),
    impersonal=pattern(r"\bhay\b|\bes \w+ (?:que|de)\b"),
    articles=words("el la los las un una unos unas"),
    demonstratives=words("este esta estos estas ese esa esos esas el la los las dicho dicha"),
    prepositions=words(
        "en por para con sin antes después contra bajo desde durante entre hacia "
        "hasta según si cuando a al sobre"
    ),
    of=words("de del"),
    joining=pattern(r",?\s+(?:y(?: también)?|e|así como|pero)\s+"),
    conjunctions=words("y e o u"),
    lead=pattern(
        r"(?:tengo (?:\w+ )?preguntas?[\s,.:;]+|"
        r"(?:gracias|hola|ok|vale|bien|bueno|entonces|sí|no|por favor|perfecto)\b[\s,.!;:]*|"
        r"(?:(?:puedes?|podrías?) )?(?:decirme|explicarme|dime|dígame|explícame)[\s,:]+|(?:quiero|"
        r"quisiera) saber[\s,:]+)"
    ),
    introduction=sentences(
        r"hola(?: \w+){0,2}|buen(?:os|as) (?:días|tardes|noches)(?: \w+){0,2}",
        r"soy (?:\w+ )?nuev[oa](?: aquí| en (?:el equipo|la (?:empresa|oficina|casa|ciudad)))?",
        r"(?:me llamo|mi nombre es) [^.!?]{1,40}?|acabo de (?:mudarme|llegar)",
        r"tengo una (?:\w+ )?pregunta|(?:puedo|podría) hacer(?:le|te)? una pregunta",
        r"(?:me puedes?|puedes?|podrías?) (?:me )?ayudar(?:me)?",
        r"(?:muchas )?gracias(?: (?:por|de) [^.!?]{1,40}?)?",
        r"espero que [^.!?]{1,60}?|(?:perdón|disculpa|disculpe)(?: [^.!?]{1,40}?)?",
    ),
    elliptic=pattern(
        r"(?:y\s+)?(?:qué\s+(?:hay|pasa|tal)|en\s+cuanto|respecto)\s+(?:de|con|sobre|a)\s+"
        r"|(?:y|e|pero|o)\s+(?:también\s+)?|lo\s+mismo\s+(?:para|con)\s+"
    ),
    aspects=words(
        "síntoma síntomas signo signos causa causas tratamiento tratamientos terapia consecuencias "
        "complicaciones pronóstico diagnóstico riesgo riesgos prevención efecto efectos precio "
        "precios coste costo costos nombre nombres propósito significado definición función uso "
        "usos ventaja ventajas desventajas diferencia diferencias ejemplo ejemplos tipo tipos "
        "parámetros argumentos opciones valor resultado población capital superficie tamaño "
        "longitud altura peso edad fecha plazo dirección número color autor autores dueño fundador "
        "historia origen lugar papel miembros características requisitos límites garantía entrega "
        "pago multa excepciones duración frecuencia razón razones pasos horario"
    ),
    classes=words(
        "enfermedad afección trastorno síndrome infección función método clase módulo biblioteca "
        "comando opción producto aparato máquina empresa compañía organización documento archivo "
        "libro informe contrato ley regla ciudad país lugar edificio proyecto programa herramienta "
        "modelo medicamento persona hombre mujer autor evento cosa tema problema caso"
    ),
    entry_nouns=words(
        "línea líneas entrada entradas fila filas registro registros elemento elementos tabla "
        "lista log logs columna personas gente cosas datos"
    ),
    possessed="{what} de {whose}",
    inside="en",
    verbless=pattern(
        r"^\W*(?:(?:desde |hasta )?cuándo|dónde|cómo|por qué|(?:de |a )?cuánt[oa]s?)"
        r"(?: se| lo| la| los| las| fue| es| está)? (?!es\b|son\b)[a-záéíóúñ]+\W*$"
        r"|^\W*(?:quién(?:es)?|qué) (?:lo|la|los|las|le) [a-záéíóúñ]+\W*$"
    ),
    verb_last=pattern(
        r"^(?:\w+(?:ado|ada|ados|adas|ido|ida|idos|idas|ar|er|ir|able|ible|ivo|oso)|"
        r"hecho|abierto|cerrado|escrito|grande|lejos|alto|usa|cuesta|funciona|trata|"
        r"llama|encuentra)$"
    ),
    every=pattern(
        r"\b(?:lista|enumera|da(?:me)?|di(?:me)?|nombra|muestra|busca|encuentra|enséñame|muéstrame)"
        r"(?: por favor)? (?:tod[oa]s|cada|la lista)\b|^(?:lista|listar|enumera)\b|"
        r"^tod[oa]s l[oa]s\b|"
        r"\b(?:cuáles|quiénes) son tod[oa]s\b"
    ),
    count=pattern(r"\bcuánt[oa]s\b|\bnúmero (?:total )?de\b|^cuenta\b"),
    summary=pattern(
        r"\b(?:resume|resumir|resúmeme|resuma)\s+(?P<name>[^?!]{1,200})|\b(?:resumen|"
        r"síntesis) (?:de la|"
        r"del|de los|de las|de)\s+(?P<about>[^?!]{1,200})|\b(?:de|sobre) qué (?:trata|va|"
        r"habla)n?\s*"
        r"(?P<says>[^?!]{0,200})|^resumen\W*$"
    ),
    this_document=pattern(
        r"^(?:esto|eso|(?:este|esta|ese|esa|estos|estas|el|la|los|todos los) (?:documento|archivo|"
        r"informe|texto|libro|página|pdf|artículo|contrato|carta|correo)s?)$"
    ),
    comparisons=tuple(
        map(
            pattern,
            (
                rf"\bdiferencias? (?:hay |existe )?entre {A} [ye] {B}{STOP}",
                rf"\bcompara(?:r)? {A} (?:y|con|e) {B}{STOP}",
                rf"\ben qué se (?:diferencian?|distinguen?) {A} (?:de|y) {B}{STOP}",
                rf"\b(?:cuál|quién|qué) (?:es|tiene|cuesta) (?P<by>(?:el |la )?(?:más|menos|"
                rf"mayor|menor|"
                rf"mejor)"
                rf"[^?,:;]{{0,60}}?)[,:] ?{A} o {B}{STOP}",
                rf"\bes {A} (?P<by>(?:más|menos) \w+) que {B}{STOP}",
                rf"^\W*{A} (?:vs\.?|versus|frente a) {B}{STOP}",
            ),
        )
    ),
    expects=(
        ("person", pattern(r"^\W*(?:por |con |para |a |de )?quién(?:es)?\b")),
        (
            "time",
            pattern(
                r"^\W*(?:desde |hasta )?cuándo\b|\b(?:qué|cuál es el|"
                r"cuál es la) (?:año|fecha|"
                r"día|mes|hora|plazo)\b|\bcuánto (?:tiempo|dura|tarda)\b|\bhorario\b"
            ),
        ),
        ("place", pattern(r"^\W*(?:de |a)?dónde\b|\bqué (?:ciudad|país|lugar)\b")),
        (
            "frequency",
            pattern(
                r"\b(?:qué tan (?:común|frecuente)|frecuencia|prevalencia|"
                r"incidencia|es (?:común|frecuente|rar[oa]))\b"
            ),
        ),
        (
            "amount",
            pattern(
                r"\bcuánt[oa]s?\b|\b(?:precio|coste|costo|número|población|tamaño|"
                r"frecuencia|porcentaje)\b"
            ),
        ),
        ("reason", pattern(r"^\W*por qué\b|\bcausas?\b|\brazón|\brazones\b|\bprovoca\b")),
        (
            "steps",
            pattern(
                r"\bcómo (?:puedo|se puede|debo|hay que|se \w+|\w+[aei]r|\w+o)\b|"
                r"\bpasos?\b"
            ),
        ),
        (
            "list",
            pattern(
                r"\bcuáles son\b|\bqué \w+s \w+n\b|\b(?:síntomas|signos|tipos|ejemplos|"
                r"opciones)\b"
            ),
        ),
        (
            "definition",
            pattern(
                r"^\W*(?:qué|quién|cuál) (?:es|son|era|fue|significa)\b|"
                r"\bdefinición\b"
            ),
        ),
    ),
    cues={
        "frequency": pattern(
            r"\b(?:prevalencia|incidencia|rar[oa]|frecuente|común|"
            r"afecta a (?:unos|cerca|\d)|1 de cada|por cada \d|estima|casos)"
        ),
        "reason": pattern(
            r"\b(?:porque|debido a|a causa|ya que|puesto que|causad[oa]|provocad[oa]|"
            r"por eso|causa)\b"
        ),
        "place": pattern(r"\b(?:en|desde|cerca de|a) (?:el |la )?[A-ZÁÉÍÓÚ]\w"),
        "steps": pattern(
            r"^(?:primero|luego|después|finalmente|para |pulse|haga|abra|elija|use|"
            r"mantenga|desconecte|presione)\b"
        ),
        "list": pattern(r"\b(?:incluyen?|tales como|como por ejemplo|siguientes?|consta de|son:)"),
        "definition": pattern(
            r"\b(?:es|son|era|fue) (?:una?|el|la|los|las)\b|\b(?:significa|"
            r"se llama|"
            r"se define)\b"
        ),
    },
    entries=("1 entrada coincide:", "{n} entradas coinciden:"),
    not_found="No se encontró nada sobre esto: {what}",
    defines=pattern(r"(?: \([^)]{1,80}\)|, [^,]{1,60},)? (?:es|son|era|fue|significa|se define)\b"),
    holds=words("contiene contienen guardado escrito dice muestra"),
    messages=words("correo mensaje carta"),
    mails=pattern(
        r"\b(?:correos?|e-?mails?|mensajes?|escri(?:bió|be|to|bir)|envi(?:ó|ado|ada|ar|a)|"
        r"remitente)\b"
    ),
    addressed=pattern(r"\ba quién(?:es)?\b|\b(?:destinatarios?|recibió)\b"),
)
