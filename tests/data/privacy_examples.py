"""Texts with personal data marked as ⟦...⟧, and texts that only look like it.

Addresses: RFC 5322, RFC 6531 and the valid and invalid examples that are usually
tested. Numbers: the ranges kept for fiction (NANPA, Ofcom, ARCEP, ACMA) and the
examples of E.123. Cards: the test numbers that Visa, Mastercard, Stripe and
Adyen publish. IBANs: the examples of the SWIFT registry. Tokens are assembled
here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import random
import string

_RANDOM = random.Random(7)
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def _made(length: int, alphabet: str = _ALNUM) -> str:
    return "".join(_RANDOM.choice(alphabet) for _ in range(length))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


EMAILS = _lines("""
    write to ⟦simple@example.com⟧.
    <⟦very.common@example.com⟧>
    連絡先：⟦ann＠example.co.jp⟧まで
    ⟦ａｎｎ＠ｅｘａｍｐｌｅ．ｃｏｍ⟧へ
    ⟦x@example.com⟧ is short
    ⟦long.email-address-with-hyphens@and.subdomains.example.com⟧
    (⟦user.name+tag+sorting@example.com⟧)
    name/⟦surname@example.com⟧
    ⟦admin@example.museum⟧ and others
    ⟦user%example.com@example.org⟧
    ⟦user-@example.org⟧
    ⟦postmaster@[123.123.123.123]⟧
    ⟦_test@[IPv6:2001:db8::1]⟧
    ⟦"john..doe"@example.org⟧
    ⟦jdoe@machine.example⟧ wrote
    From: John Doe <⟦jdoe@node.example⟧>
    To: Mary Smith <⟦mary@example.net⟧>, Bob <⟦bob@example.net⟧>
    ⟦Pelé@example.com⟧
    ⟦jörg.müller@bücher.example⟧
    ⟦δοκιμή@παράδειγμα.δοκιμή⟧
    ⟦чебурашка@ящик-с-апельсинами.рф⟧
    ⟦संपर्क@डाटामेल.भारत⟧
    请联系⟦zhang@example.cn⟧谢谢
    mailto:⟦jane.doe@acme.co.uk⟧?subject=hi
    "email": "⟦o'brien@mail.acme.ie⟧",
    Reach me (⟦ann_lee99@gmail.com⟧); thanks
    https://⟦ann@host.acme.de⟧/path
    ⟦a@b.co⟧|⟦c@d.io⟧
    ⟦jane.doe [at] acme.com⟧
    ⟦jane.doe (at) acme (dot) com⟧
    ⟦jane at acme dot com⟧ is spelt out
    ⟦JANE AT ACME DOT COM⟧
    ⟦jane{at}acme.org⟧
    ⟦müller [ät] firma [punkt] de⟧
    ⟦first.last@sub.domain.example.xn--p1ai⟧
    ⟦1234567890@example.com⟧
    ⟦jane@example.com⟧...
    ⟦JANE.DOE@ACME.COM⟧
    'author': '⟦guido@python.org⟧'
    cc ⟦a.b-c_d+e@f-g.h.ac.jp⟧, please
""")

PHONES = _lines("""
    call ⟦+1 212 555 0123⟧ now
    ⟦+1-212-555-0123⟧
    ⟦+1 (212) 555-0123⟧
    ⟦+1.212.555.0123⟧
    ⟦+12125550123⟧
    ⟦(212) 555-0199⟧
    ⟦212-555-0100⟧
    ⟦212.555.0147⟧
    ⟦1-800-555-0199⟧
    ⟦800-638-8255⟧ (toll free)
    ⟦+44 20 7946 0958⟧
    ⟦+44 (0)20 7946 0958⟧
    ⟦020 7946 0958⟧ is for drama
    ⟦(020) 7946 0958⟧
    ⟦0161 496 0123⟧
    ⟦01632 960123⟧
    mobile ⟦07700 900123⟧
    ⟦0808 157 0123⟧
    ⟦+49 30 23125 000⟧
    ⟦+49 (0)30 23125-000⟧
    Tel. ⟦030/23125000⟧
    Tel.: ⟦0171 3920000⟧
    Telefon ⟦089 / 99998-123⟧
    ⟦+33 1 99 00 12 34⟧
    ⟦01 42 68 53 00⟧
    ⟦06.39.98.12.34⟧
    tél. ⟦01 99 00 12 34⟧
    ⟦+61 2 5550 1234⟧
    ⟦02 7010 1234⟧
    ⟦+22 607 123 4567⟧
    ⟦+31 42 123 4567⟧
    ⟦+91 98765 43210⟧
    ⟦+81 3-1234-5678⟧
    ⟦+86 10 6552 9988⟧
    ⟦+55 11 96123-4567⟧
    ⟦+34 912 34 56 78⟧
    ⟦+39 06 1234 5678⟧
    ⟦0049 30 23125000⟧
    phone: ⟦555-0123⟧
    Phone ⟦5550123⟧
    Fax: ⟦212 555 0123⟧
    phone number is ⟦2125550123⟧
    call me at ⟦123-456-7890⟧
    ⟦(555) 123-4567⟧
    ⟦555-123-4567⟧
    ⟦212-555-0123 ext. 45⟧
    ⟦(563)624-4540x513⟧
    ⟦+1 212 555 0123 x45⟧
    dial ⟦0800 11 22 33 44⟧
    Mobile: ⟦+44 7700 900 123⟧, home: ⟦+44 1632 960 001⟧
    in 2010 call ⟦212-555-0123⟧ or ⟦(646) 555-0111⟧
    WhatsApp ⟦+1 646 555 0188⟧
    Ring ⟦0118 496 0999⟧ today
""")

ADDRESSES = _lines("""
    He lives at ⟦221B Baker Street, London NW1 6XE⟧.
    ⟦10 Downing Street, London SW1A 2AA⟧
    ⟦1600 Pennsylvania Avenue NW, Washington, DC 20500⟧
    ⟦350 5th Avenue, New York, NY 10118⟧
    ship to ⟦123 Main St, Springfield, IL 62704⟧
    ⟦123 Main Street⟧ is closed
    ⟦4 Privet Drive⟧, Little Whinging
    ⟦742 Evergreen Terrace⟧, Springfield
    ⟦1 Infinite Loop, Cupertino, CA 95014⟧
    ⟦12 Elm Rd. Apt 4B, Portland, OR 97201⟧
    ⟦55 Oak Ave⟧, he said
    ⟦1 Martin Luther King Blvd, Newark, NJ 07102⟧
    ⟦77 N. Lake Shore Drive⟧
    ⟦16 Church Close, Oxford OX1 2JD⟧
    ⟦279 Hicks Shore, Kirkby, CO7 5JA⟧
    ⟦3432 Brown Fort Apt. 583⟧
    ⟦6348 Michele Fields, Salem, OR 97301⟧
    ⟦5 The Green, Richmond TW9 1PL⟧
    ⟦3 Kings Court, Leeds LS1 4AB⟧
    ⟦1010 Beacon Street, Suite 12⟧
    ⟦P.O. Box 1234⟧
    ⟦PO Box 77⟧, Anytown
    Anschrift: ⟦Hauptstraße 12, 12345 Berlin⟧
    ⟦Berliner Str. 5a, 10115 Berlin⟧
    ⟦Friedrich-Ebert-Allee 144, 53113 Bonn⟧
    ⟦Albersweg 2-5, 92338 Weißenfels⟧
    ⟦Benno-Bonbach-Ring 3⟧
    ⟦Musterstraße 1⟧ im Ort
    ⟦Am Markt 3, 04109 Leipzig⟧
    ⟦Mozartgasse 7, 8010 Graz⟧
    ⟦Postfach 10 20 30⟧
    ⟦Kurfürstendamm 21, 10719 Berlin⟧
    ⟦Unter den Linden 77, 10117 Berlin⟧
    ⟦12 rue de la Paix, 75002 Paris⟧
    ⟦10, avenue des Champs-Élysées, 75008 Paris⟧
    ⟦3 bis, boulevard Saint-Michel⟧
    ⟦55 Rue du Faubourg Saint-Honoré, 75008 Paris⟧
    ⟦24 Sussex Drive, Ottawa, ON K1M 1M4⟧
""")

MACHINES = _lines("""
    from ⟦93.184.216.34⟧ port 22
    ⟦192.168.1.17⟧
    ping ⟦8.8.8.8⟧
    ⟦10.0.0.5⟧
    http://⟦172.16.254.1⟧:8080/x
    ssh root@⟦185.199.108.153⟧
    inet ⟦10.1.2.3⟧/24
    [⟦2606:4700:4700::1111⟧]:443
    ⟦2a00:1450:4001:82f::200e⟧
    ⟦fe80::1ff:fe23:4567:890a⟧%eth0
    ⟦fd12:3456:789a:1::1⟧
    ⟦2001:4860:4860:0:0:0:0:8888⟧
    host = "⟦151.101.1.69⟧"
    server ⟦1.2.3.4⟧:53
""")

CARDS = _lines("""
    Visa ⟦4111 1111 1111 1111⟧ exp 03/30
    ⟦4242424242424242⟧
    ⟦4012-8888-8888-1881⟧
    ⟦5555555555554444⟧
    ⟦5105 1051 0510 5100⟧
    ⟦2223003122003222⟧
    ⟦378282246310005⟧
    ⟦3714 496353 98431⟧
    ⟦6011111111111117⟧
    ⟦6011 0009 9013 9424⟧
    ⟦30569309025904⟧
    ⟦3622 720627 1667⟧
    ⟦3530111333300000⟧
    ⟦6200000000000005⟧
    card number ⟦4222222222222⟧
    Paid with ⟦4222222222222⟧.
    Visa: ⟦4222 2222 2222 2⟧ or ⟦4222-2222-2222-2⟧
    カード番号：⟦４１１１ １１１１ １１１１ １１１１⟧です。
    Maestro ⟦6759 6498 2643 8453⟧
    card: ⟦4000056655665556⟧, thanks
    ⟦5200828282828210⟧
""")

IBANS = _lines("""
    ⟦AD12 0001 2030 2003 5910 0100⟧
    ⟦AE07 0331 2345 6789 0123 456⟧
    ⟦AT61 1904 3002 3457 3201⟧
    ⟦BE68 5390 0754 7034⟧
    ⟦BR18 0036 0305 0000 1000 9795 493C 1⟧
    ⟦CH93 0076 2011 6238 5295 7⟧
    ⟦DE89 3704 0044 0532 0130 00⟧ BIC COBADEFFXXX
    IBAN:⟦DE89370400440532013000⟧
    ⟦ES91 2100 0418 4502 0005 1332⟧
    ⟦FR14 2004 1010 0505 0001 3M02 606⟧
    ⟦GB29 NWBK 6016 1331 9268 19⟧
    ⟦GB29NWBK60161331926819⟧.
    ⟦IT60 X054 2811 1010 0000 0123 456⟧
    ⟦MT84 MALT 0110 0001 2345 MTLC AST0 01S⟧
    ⟦NL91 ABNA 0417 1643 00⟧
    ⟦NO93 8601 1117 947⟧
    ⟦PL61 1090 1014 0000 0712 1981 2874⟧
    ⟦SE45 5000 0000 0583 9825 7466⟧
    ⟦SA03 8000 0000 6080 1016 7519⟧
    ⟦TR33 0006 1005 1978 6457 8413 26⟧
    ⟦LC55 HEMM 0001 0001 0012 0012 0002 3015⟧
    ⟦SC18 SSCB 1101 0000 0000 0000 1497 USD⟧
""")

_PEM = "\n".join(_made(64) for _ in range(6))
SECRETS = [
    "aws_access_key_id = ⟦AKIAIOSFODNN7EXAMPLE⟧",
    "aws_secret_access_key = ⟦wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY⟧",
    f"⟦{'ghp' + '_' + _made(36)}⟧",
    f"token ⟦{'github' + '_pat_' + _made(22) + '_' + _made(59)}⟧ expires",
    f"⟦{'glpat' + '-' + _made(20)}⟧",
    f"SLACK=⟦{'xox' + 'b-' + _made(12, string.digits) + '-' + _made(24)}⟧",
    f"https://⟦{'hooks.slack' + '.com/services/T' + _made(8) + '/B' + _made(8) + '/' + _made(24)}⟧",
    f"⟦{'sk' + '-proj-' + _made(48)}⟧",
    f"⟦{'sk' + '-ant-api03-' + _made(93)}⟧",
    f"?key=⟦{'AI' + 'za' + _made(35)}⟧&x=1",
    f"⟦{'sk' + '_live_' + _made(24)}⟧",
    f"⟦{'rk' + '_test_' + _made(24)}⟧",
    f"//registry.npmjs.org/:_authToken=⟦{'npm' + '_' + _made(36)}⟧",
    f"password = ⟦{'pypi' + '-AgEIcHlwaS5vcmc' + _made(80)}⟧",
    f"⟦{'hf' + '_' + _made(34, string.ascii_letters)}⟧",
    f"⟦{'S' + 'G.' + _made(22) + '.' + _made(43)}⟧",
    f"bot ⟦{_made(9, '123456789') + ':AA' + _made(33)}⟧",
    f"⟦eyJ{_made(30)}.eyJ{_made(60)}.{_made(43)}⟧",
    f"Authorization: Bearer ⟦{_made(40)}⟧",
    "Authorization: Basic ⟦QWxhZGRpbjpvcGVuIHNlc2FtZTE=⟧",
    f"⟦-----BEGIN RSA PRIVATE KEY-----\n{_PEM}\n-----END RSA PRIVATE KEY-----⟧\nend",
    f"⟦-----BEGIN OPENSSH PRIVATE KEY-----\n{_PEM}\n-----END OPENSSH PRIVATE KEY-----⟧",
    f'key = "⟦-----BEGIN PRIVATE KEY-----\\n{_made(64)}\\n-----END PRIVATE KEY-----⟧"',
    f"⟦-----BEGIN PRIVATE KEY-----\n{_PEM}⟧",
    "postgres://⟦ann:s3cr3tpw⟧@db.acme.com:5432/app",
    "mongodb+srv://⟦root:hunter2⟧@cluster0.mongodb.net/db",
    "https://⟦deploy:Zx81%21q⟧@git.acme.com/r.git",
    "redis://⟦:p4ssw0rd⟧@cache.acme.com:6379",
    'password = "⟦hunter2⟧"',
    "password='⟦correct-horse-battery⟧'",
    'DB_PASSWORD = "⟦letmein⟧"',
    "PASSWORD=⟦S3cr3t!x⟧",
    "password: ⟦Tr0ub4dor&3⟧",
    '"password": "⟦qwerty12⟧",',
    "The password is ⟦Winter2024!⟧",
    "Passwort: ⟦Sommer#77⟧",
    "<password>⟦Gh7#kk2p⟧</password>",
    'passwd: str = "⟦zebra-99-lamp⟧"',
    'PWD := "⟦x7Kp2m9q⟧"',
    f'api_key = "⟦{_made(32, _HEX)}⟧"',
    f"SECRET_KEY = '⟦{_made(50)}⟧'",
    f"client_secret: ⟦{_made(40)}⟧",
    f'"accessToken": "⟦{_made(64)}⟧"',
    f"token={_made(0)}⟦{_made(32)}⟧",
    f"encryption key: ⟦{_made(43)}=⟧",
    "api-key: ⟦7c9e6679-7425-40de-944b-e07fc1f90ae7⟧",
    "mail:\n  user: ann\n  pass: ⟦s3cr3t⟧\n",
    "{host: a, pass: ⟦s3cr3t⟧}",
    "smtp_pass=⟦hunter22⟧",
    "- dbpass: ⟦zebra99!⟧  # of the old server",
    'pw = "⟦hunter2⟧"',
    f"TWILIO=⟦{'S' + 'K' + _made(32, _HEX)}⟧",
    f"account ⟦{'A' + 'C' + _made(32, _HEX)}⟧",
    f"bot ⟦{'MT' + _made(24, string.digits) + '.' + _made(6) + '.' + _made(38)}⟧",
    f"https://⟦{'discord' + '.com/api/webhooks/' + _made(18, '123456789') + '/' + _made(68)}⟧",
    f"⟦{'key' + '-' + _made(32, _HEX)}⟧",
    f"⟦{'gsk' + '_' + _made(52)}⟧",
    f"⟦{'dckr' + '_pat_' + _made(27)}⟧",
]

POSITIVE = {
    "EMAIL": EMAILS, "PHONE": PHONES, "ADDRESS": ADDRESSES, "IP": MACHINES, "CARD": CARDS,
    "IBAN": IBANS, "SECRET": SECRETS,
}  # fmt: skip

# Nothing personal in these, though each looks like one of the kinds.
NOT_IN_PROSE = _lines("""
    version 1.2.3.4 is out
    PASS: test_login_7
    bypass: valve7b open, compass = n45e12
    pass: see page 12
    EAN 4000000000006 and 4000000000044
    Python 3.11.4 on 2023-06-07
    see section 3.1.2.1 for more
    v10.0.19041.1 of Windows
    Chrome/91.0.4472.124 Safari/537.36
    127.0.0.1 and ::1 and 0.0.0.0
    192.0.2.7 and 198.51.100.23 and 203.0.113.9 are for documents
    2001:db8::1 too
    255.255.255.0 is a netmask
    10.0.0.0/8 and 192.168.0.0/16 are networks
    OID 1.3.6.1.4.1.311
    224.0.0.251 is multicast
    256.300.1.2 is no address
    std::vector<int> a::b::c
    12:30:45 and 00:1A:2B:3C:4D:5E
    John 3:16-18 and dead:beef:cafe
    ISBN 978-3-16-148410-0
    ISBN 0-306-40615-2
    ISBN-13: 9780306406157
    ISSN 2049-3630
    doi:10.1000/182 and 10.1038/nphys1170
    10.1016/j.neuron.2019.01.034
    on 2019-05-01 12:30:45
    2021-01-01T00:00:00.000000Z
    01.02.2003 - 04.05.2006
    05/06/2013 to 07/08/2014
    between 1914-1918 and 1939-1945
    in 1990 1991 1992 1993
    pages 1234-1245, 2001-2010
    51.5074 N, 0.1278 W
    40.7128, -74.0060
    -33.865143, 151.209900
    $1,234,567.89 and 1.234.567,89 €
    10 000 000 people, 299 792 458 m/s
    1 000 000 000 000
    3.14159265358979323846
    6.02214076e23
    +10.000.000 and +12.5%
    commit 9fceb02d0ae598e95dc970b74767f19372d61af8
    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    md5 d41d8cd98f00b204e9800998ecf8427e
    uuid 123e4567-e89b-12d3-a456-426614174000
    part no. 12-3456-789
    Part 123-45-6789-00
    order 4500123456
    invoice 2023/000123
    EAN 4006381333931
    UPC 036000291452
    4111111111111112 fails the check
    1234 5678 9012 3456
    0000000000000000
    9999 9999 9999 9999
    IMEI 490154203237518
    VIN 1HGCM82633A004352
    DE89 3704 0044 0532 0130 01
    GB00 NWBK 6016 1331 9268 19
    ZZ89370400440532013000
    NCT01234567 and PMC1234567
    PMID: 12345678
    RFC 5322 and ISO 13616
    arXiv:0901.4016
    $x_{1}^{2} + \\alpha@\\beta$
    @username on the site
    meet @ noon
    A@B is no address
    icon@2x.png
    lodash@4.17.21
    git@github.com:owner/name.git
    foo@bar
    look at dot com companies
    I was at home (at last)
    the 1929 Wall Street Crash
    In 2010 Abbey Road was
    3 Doors Down
    12 Angry Men
    the 9 Circuit Court judges
    Chapter 5 The Way
    5 o'clock on Main Street
    Spring 2010 and Bring 5
    String 1 and Platz 3
    Tabellenplatz 3
    Bundesstraße 7
    Area 51 Road
    2 Corinthians 5:17
    the password is required
    Password: required
    your password: please enter it
    password = "changeme"
    password: ********
    password=<password>
    forgot password? Click here
    The key is persistence
    The key: to be or not to be
    the token is then returned
    key: value
    Secret: none
    https://user:password@example.com
    http://{user}:{password}@host/
    postgres://${DB_USER}:${DB_PASS}@${DB_HOST}/db
    task-management-system and disk-based-storage-2000
    sk-fading-circle-something
    AKIA is a prefix
    -----BEGIN CERTIFICATE-----
    -----BEGIN PUBLIC KEY-----
    eyJ is how they begin
    1-2-3-4-5-6-7-8-9
    01 02 03 04 05 06 07 08 09 10
    20 30 40 50 60 70 80 90
    0.1 0.2 0.3 0.4 0.5
    7 8 9 10 11 12 13 14 15
    555 people, 1234 days
    0-0-0 and 3-2-1
    ratio 16:9, 1920x1080
    CAS 7732-18-5
    EC 1.14.13.39
    HTTP/1.1 200 OK 1234567
    ICD-10 E11.65
    1001001 SOS
    CC(=O)OC1=CC=CC=C1C(=O)O
    C[C@@H](N)C(=O)O
    zip 90210-1234
    SSN style 219-09-9999
    2023-10-01 to 2023-10-31
    16.12.2022 10:30
    March 3, 2010 10 2000
    B07XJ8C8F5
    9 3/4 and 1/2
    scores 6-4 7-6 3-6
    6-4, 7-6 (7-4), 6-3
    lat 48.8566 lon 2.3522
    tel aviv 2010
    the call of 2010-2011
    contact between 1990 and 2005
    reached 1000000 people
""")

NOT_IN_CODE = [
    *_lines("""
    password = getpass.getpass()
    password = self.password
    password=None, token=None
    def login(user: str, password: str) -> None:
    if password == expected_password2:
    password = config["password2"]
    kwargs["password"] = args.password1
    "password": "password"
    PASSWORD_FIELD = "user_password"
    token = tokens[0]
    token: Token = next(self.tokens)
    key = lambda pair: pair[0]
    key = "some_dictionary_key_number_12"
    SECRET_NAME = "projects/x/secrets/y"
    secret = os.environ["SECRET_KEY_2024"]
    public_key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
    y = q@k.transpose(1, 2)
    out = a@b.T
    return x@self.weight.T
    @property
    @app.route("/x/<int:y>")
    f"{name}@{domain}.com"
    "%s@%s" % (user, host)
    __version__ = "1.2.3.4"
    version = '10.2.3.44'
    x = 2125550123
    numbers = (212, 555, 123, 4567)
    MAGIC = 0x7f3a9c21
    range(1000000, 2000000)
    1234567890123456
    0.4111111111111111
    color: #1a2b3c4d
    integrity="sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC"
    checksum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    rev: 9fceb02d0ae598e95dc970b74767f19372d61af8
    h1:9fHAtK0uDfpveeqqo1hkEZJcFvYXAiCN3UutL8F9xHw=
    resolved "https://registry.yarnpkg.com/x/-/x-1.0.0.tgz#9fceb02d0ae598e95dc970b74767f19372d61af8"
    "content-hash": "a3f5b8c2d1e4f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1"
    a[2000::5] and b[::2]
    x::y::z and Foo::Bar
    0x4111111111111111
    keyword = "abcdefghijklmnopqrstuvwxyz0123456789"
    monkey = "1a2B3c4D5e6F7g8H9i0JkL"
    for key, value in items: pass
    primary_key=True, sort_key="created_at_2024"
    """),
]

NOT_IN_TABLES = _lines("""
    212-555-0123 | 12 | 4
    0171 1234567 | 3
    4242424242424242 | 17
    123456789 | 987654321
    555-0123 | bolt
    2019-05-01 | 1234567
    (212) 555-0123 | box
    01 23 45 67 89 | x
    030 12345678 | 2
    978-0-306-40615-7 | 24.95
    1.234.567,89 | 10 000 000
""")

NEGATIVE = {"prose": NOT_IN_PROSE, "code": NOT_IN_CODE, "table": NOT_IN_TABLES}
