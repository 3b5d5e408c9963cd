"""Words that tell a person's name from another one, in English, German, French, Spanish, Russian.

All are folded (``name_lists.folded``): without case, accents and apostrophes.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TITLES = _set("""
    mr mrs ms mx miss messrs dr drs prof rev fr sr sra srta srs sres sgt cpl capt cpt lt col gen
    cmdr adm sen gov rep hon esq sir madam lord lady dame frau herr herrn fraulein mme mlle mm
    madame monsieur mademoiselle maitre docteur senor senora senorita don dona doctora signor
    signora mevrouw meneer pan pani г-н г-жа г-на г-ну г-жи гн гжа господин господина господину
    госпожа госпожи товарищ д-р
""")
"""Before a name, whatever it is."""
RANKS = _set("""
    doctor professor captain sergeant lieutenant colonel general major admiral president
    chancellor senator governor minister mayor judge justice detective officer inspector nurse
    sister brother father pastor bishop pope king queen prince princess duke count emperor
    empress uncle aunt auntie grandma grandpa cousin coach actor actress singer author writer
    director composer painter historian critic producer guitarist bassist drummer vocalist
    songwriter novelist journalist architect engineer physicist philosopher poet archbishop
    cardinal rabbi imam doktor professorin minister kanzler kanzlerin prasident onkel tante
    konig docteur professeur capitaine president ministre maire oncle reine roi doctor profesor
    profesora presidente presidenta ministro capitan tio tia rey reina доктор профессор
    президент капитан генерал министр директор дядя тетя врач
""")
"""Before a name, and before other words."""
OF_PERSONS = _set("""
    author authors from cc bcc sender recipient signed patient client employee contact attn
    attention surname lastname firstname forename cardholder witness applicant manager
    supervisor physician doctor interviewer interviewee speaker student teacher owner customer
    maintainer reviewer von autor verfasser patientin kunde kundin ansprechpartner
    ansprechpartnerin absender empfanger vorname nachname familienname unterschrift bearbeiter
    sachbearbeiter mitarbeiter betreuer expediteur destinataire auteur prenom client salarie
    signataire medecin remitente destinatario autor apellido apellidos firmado paciente cliente
    empleado medico фио имя фамилия отчество автор пациент пациентка клиент сотрудник получатель
    отправитель врач
""")
"""Fields whose value is a person."""
MAYBE_OF_PERSONS = _set("""
    name names to an a nom nombre para de от кому fullname student by reply-to organizer
    attendees
""")
"""And fields whose value may be one."""

GREETINGS = _set("""
    dear hi hello hey hallo liebe lieber lieben geehrte geehrter cher chere bonjour salut
    querido querida estimado estimada hola уважаемый уважаемая дорогой дорогая привет
    здравствуйте thanks danke merci gracias спасибо
""")
CLOSINGS = _set("""
    regards sincerely cheers best thanks yours faithfully truly respectfully love gru gruss
    gruße grusse grussen grußen freundlichen cordialement salutations amicalement atentamente
    saludos cordialmente уважением wishes
""")
"""Words that end a line above a signature."""

SAYS = _set("""
    said says say wrote writes asked asks replied replies told tells called answered explained
    adds added argued claimed stated noted believed suggested smiled laughed shouted whispered
    cried sagte sagt schrieb schreibt fragte fragt antwortete meinte meint erklarte erzahlte
    rief berichtete dit ecrit demande repond declare explique dijo dice escribio escribe
    pregunto respondio explico сказал сказала говорит написал написала спросил спросила ответил
    ответила пишет позвонил позвонила считает
""")

PROPER = _set("""
    manila ming augusta rome venice odessa одесса
    january february march april may june july august september october november december januar
    februar marz mai juni juli oktober dezember janvier fevrier mars avril juin juillet aout
    septembre octobre novembre decembre enero febrero marzo abril mayo junio julio agosto
    septiembre octubre noviembre diciembre января февраля марта апреля мая июня июля августа
    сентября октября ноября декабря январь февраль март апрель май июнь июль август сентябрь
    октябрь ноябрь декабрь monday tuesday wednesday thursday friday saturday sunday montag
    dienstag mittwoch donnerstag freitag samstag sonntag lundi mardi mercredi jeudi vendredi
    samedi dimanche lunes martes miercoles jueves viernes sabado domingo easter christmas noel
    asia africa paris europe america australia europa afrika asien amerika азия африка европа
    америка roman christian english french german welsh british irish dutch spanish christ jesus
    god allah buddha bible koran quran islam torah zion eden python java perl django scala
    jenkins jupyter alexa siri cortana unix linux apache oracle windows maven sofia sydney
    melbourne vienna lourdes geneva london brooklyn chelsea kensington manchester york boston
    dallas austin houston phoenix denver madison lincoln savannah cheyenne orlando carolina
    dakota montana hudson kent surrey lancaster maya nazi aztec inca hollywood darwin bradford
    leigh richmond preston clifton stafford halifax derby windsor eden devon nantes milan roma
    asuncion santiago salvador san santa sao washington wellington delhi bombay madras persia
    judea galilee bethlehem england scotland wales britain mercury venus saturn jupiter mars
    neptune pluto apollo gemini orion zeus athena titan москва петербург internet web union
    civil nobel grammy medal iv vi vii viii ix xi xii xiii
""")
"""Words that always have a capital, and are names of people as well: their capital says nothing."""

ILLNESSES = _set("""
    anomaly anomalies sequence tumors tumours deficiency protein
    disease diseases syndrome syndromes disorder palsy chorea lymphoma sarcoma tumor tumour
    anemia anaemia contracture thyroiditis phenomenon krankheit syndrom maladie enfermedad
    sindrome болезнь болезни синдром lymphom virus bacillus gland tube reflex fracture esophagus
    deformity ataxia dystrophy dementia encephalopathy neuropathy nephropathy nevus ulcer cyst
    fistula vaccine ganglion ligament papilla node nodes bodies
""")
"""What is called after people; whoever they are."""
METHODS = _set("""
    law laws theorem theorems test tests method methods equation equations algorithm
    distribution transform series process model constant number numbers effect principle
    criteria criterion index scale score sign stage classification operation procedure technique
    maneuver function functions inequality lemma conjecture filter space group integral
    polynomial matrix code machine curve paradox hypothesis cycle diagram coefficient cipher
    engine unit degree prize award medal cup trophy stain catheter position gesetz satz methode
    verfahren verteilung reihe test loi methode theoreme ley metodo teorema закон метод теорема
    уравнение премия
""")
ORGANISATIONS = _set("""
    medicine medical cancer children childrens national family dynasty
    inc ltd llc corp corporation co company companies gmbh ag kg ohg ug sarl sas sa spa plc llp
    nv bv ооо зао оао group holdings bank university universitat universite universidad college
    school schule ecole escuela academy institute institut instituto hospital clinic klinik
    foundation stiftung fundacion fondation museum library theatre theater church cathedral
    kirche chapel stadium arena center centre hotel airport station street road avenue lane
    boulevard square plaza strasse platz weg allee rue park gardens garden river lake mountain
    mountains mount hill hills island islands bay creek county city town village valley beach
    bridge tower castle palace hall house building press records entertainment pictures studios
    studio films media magazine publishing publishers brothers bros sons partners associates
    motors airlines railway railroad league conference championship tournament open act
    committee commission department ministry association society club team party army navy fleet
    regiment battalion brigade division corps squadron war battle fort camp port glacier desert
    sea ocean peninsula peak canal dam forest district region province territory township parish
    highway route line crater game games show album song ep lp tour band orchestra symphony
    trial trials study times post tribune news
""")
"""After a word they make something else of it, a firm, a place, an institution."""
BEFORE_PLACES = _set("""
    lake mount mt fort port cape san santa santo sao saint saints st ste rue avenue calle plaza
    hotel camp castle hurricane typhoon storm river isle glacier uss hms ss rms операция morbus
    syndrom syndrome maladie enfermedad sindrome болезнь болезни синдром теорема закон метод
    улица город krankheit университет имени los las el new north south east west upper lower
    great greater operation project planet radio battle siege port villa monte puerto villa
""")
"""Before a word they make something else of it."""

NEVER = _set("""
    ii iii puerto
    i a an the this that these those he she it we you they his her its our your their my me him
    us them who whom whose which what when where why how and or but if so as at by for from in
    into of off on onto out over to up with about after all also although always am among any
    are around because been before being below between both can could did do does done down
    during each either else even every few first for found further get give given go had has
    have having here however is just last later less let like made make many might more most
    much must neither never next no none nor not nothing now off often once one only other
    others otherwise own per perhaps please rather same second see several shall should since
    some still such take than then there therefore third though three through thus too two under
    unless until upon use used using very via was well were within without would yes yet note
    notes see table figure chapter section part page appendix example new old good great big
    little high low long short early late today tomorrow yesterday team support staff sir madam
    everyone everybody anyone somebody folks friends colleagues customer service services office
    sales marketing hr it ceo cto cfo manager director engineer department subject date sent re
    fwd phone tel mobile email mail address account number order invoice information info help
    list lists group user users admin administrator title description version copyright license
    all reserved rights inc press contributors der die das den dem des ein eine einen einem
    einer und oder aber wenn weil dass als auch auf aus bei bis durch fur gegen hat haben ich du
    er sie es wir ihr ihre ihrer ihren sein seine seiner mein meine im in ist sind war waren
    wird werden mit nach nicht noch nur ob ohne schon sehr sich so uber um unter von vor was wer
    wie wo zu zum zur zwischen hier heute gestern morgen nun dann da dieser diese dieses jeder
    alle alles viele mehr kein keine man damen herren kollegen guten tag le la les un une des du
    de et ou mais si que qui quoi dont comme dans en sur sous avec sans pour par pas plus ce
    cette ces cet il elle ils elles nous vous on son sa ses mon ma mes notre votre leur leurs au
    aux est sont etait etaient tous tout toute toutes messieurs mesdames puis alors el los las
    una unos unas y o pero si cuando porque como con sin para por segun sobre entre desde hasta
    este esta estos estas ese esa eso aquel su sus mi mis tu tus nuestro lo se no ya muy mas
    todo toda todos todas yo ellos ellas nosotros usted ustedes es son fue era hay senores
    amigos и или но а если когда что как где кто это этот эта эти тот та те все вся всё он она
    оно они мы вы я ты его ее их мой моя наш ваш в во на по с со к из за от до у о об для при
    без над под не ни да нет так же бы ли уже еще только можно нужно после перед также однако
    поэтому коллеги друзья господа agent agents st ste saint saints san santa santo sao royal
    air miss world kitty ltd gmbh figure fig eq no vol ed eds pp vs etc al
""")
"""Words that are no names of people however they are written."""
GERMAN = _set("""
    der die das und ist nicht mit ein eine einen den dem des auf fur zu von im hat wird sich
    auch wir ich wurde werden haben sind bei nach aus wie zur zum
""")

RELATIONS = _set("""
    named called namens appelle llamado llamada colleague friend wife husband son daughter boss
    neighbour neighbor kollege kollegin freund freundin bruder schwester collegue amigo amiga
    colega коллега друг подруга зовут
""")
"""Before a person's name."""
NAMED = _set("by with asked told met ask tell call meet thank thanked par avec por con")
"""Before a person more often than before something else."""
CAPITAL_PARTICLES = _set("de del della di du da des der den van von le la el al ben bin mac o ni")
"""Of surnames, which some write with a capital: De Smet, Le Roux."""
SURNAMES_TOO = _set("hill hall lane castle church post king pope judge dean bishop")
"""Words of institutions and ranks that are as often the surname after a given name."""
ARTICLES = _set("the a an der die das dem den des ein eine le la les un une el los las una l")
