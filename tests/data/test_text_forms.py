"""Encodings: every language in those that it was written in, whole, cut and with a bad byte."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from linnet.data.config import DataConfig
from linnet.data.decoding import decode, detect_encoding, read_lines, read_text
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract

# A few sentences each, and the encodings of the language beside UTF-8.
TEXTS = {
    "German": "Die Straße führt über die Brücke, und das Gerät läuft wieder schön. Wer den "
    "Schlüssel sucht, findet ihn im Büro, gleich neben der grünen Tür.",
    "French": "Les élèves étaient à l'école où le garçon a mangé des crêpes, même à Noël. Ils "
    "ont reçu leurs diplômes après la fête, et la mère s'est plainte du bruit.",
    "Spanish": "El niño comió después una manzana en el jardín. ¿Dónde está la estación? La "
    "señora volvió mañana, según dijo, con más árboles pequeños.",
    "Polish": "Zażółć gęślą jaźń. Wszystkie dzieci są w szkole, a rodzice wrócą później. Jeśli "
    "będzie padał deszcz, pójdziemy do muzeum, żeby obejrzeć obrazy.",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Děti jsou ve škole a rodiče se vrátí "
    "později. Když bude pršet, půjdeme do muzea podívat se na obrazy.",
    "Hungarian": "Árvíztűrő tükörfúrógép. A gyerekek az iskolában vannak, a szülők később jönnek "
    "haza. Ha esni fog az eső, elmegyünk a múzeumba, és megnézzük a képeket.",
    "Turkish": "Çocuklar bugün okulda, anne ve babaları akşam geç saatte dönecek. Yağmur yağarsa "
    "müzeye gidip resimlere bakacağız, sonra eve döneriz. Işık açıktı.",
    "Latvian": "Bērni šodien ir skolā, un vecāki atgriezīsies vēlāk. Ja līs lietus, mēs iesim uz "
    "muzeju, lai apskatītu gleznas, un pēc tam brauksim mājās.",
    "Russian": "Съешь ещё этих мягких французских булок, да выпей чаю. Как дела сегодня? Дети в "
    "школе, а родители вернутся позже, когда закончится дождь.",
    "Ukrainian": "Діти зараз у школі, а батьки повернуться пізніше. Якщо піде дощ, ми підемо до "
    "музею, щоб подивитися картини, і потім поїдемо додому.",
    "Greek": "Τα παιδιά είναι στο σχολείο και οι γονείς θα επιστρέψουν αργότερα. Αν βρέξει, θα "
    "πάμε στο μουσείο για να δούμε τους πίνακες και μετά θα γυρίσουμε σπίτι.",
    "Hebrew": "הילדים נמצאים עכשיו בבית הספר, וההורים יחזרו מאוחר יותר. אם ירד גשם נלך למוזיאון "
    "לראות את התמונות, ואחר כך ניסע הביתה.",
    "Arabic": "الأطفال الآن في المدرسة، وسيعود الوالدان في وقت لاحق. إذا هطل المطر سنذهب إلى "
    "المتحف لمشاهدة اللوحات، ثم نعود إلى البيت.",
    "Thai": "ตอนนี้เด็กๆ อยู่ที่โรงเรียน และพ่อแม่จะกลับมาในภายหลัง ถ้าฝนตกเราจะไปพิพิธภัณฑ์เพื่อดูภาพวาด แล้วจึงกลับบ้าน",
    "Japanese": "子供たちは今、学校にいます。両親は後で帰ってきます。雨が降ったら、博物館へ"
    "絵を見に行き、それから家に帰ります。会議は三月五日の午後に行います。",
    "Chinese": "孩子们现在在学校，父母晚一点才会回来。如果下雨，我们就去博物馆看画，"
    "然后再回家。会议在三月五日下午举行，请大家提前把资料送来。",
    "Taiwanese": "孩子們現在在學校，父母晚一點才會回來。如果下雨，我們就去博物館看畫，"
    "然後再回家。會議在三月五日下午舉行，請大家提前把資料送來。",
    "Korean": "아이들은 지금 학교에 있고 부모님은 나중에 돌아오십니다. 비가 오면 박물관에 가서 "
    "그림을 보고 집으로 돌아갈 것입니다. 회의는 삼월 오일 오후에 열립니다.",
}
ENCODINGS = {
    "German": "cp1252 iso8859-1 iso8859-15 mac-roman cp850",
    "French": "cp1252 iso8859-15 mac-roman",
    "Spanish": "cp1252 iso8859-1",
    "Polish": "cp1250 iso8859-2",
    "Czech": "cp1250 iso8859-2 cp852",
    "Hungarian": "cp1250 iso8859-2",
    "Turkish": "cp1254 iso8859-9",
    "Latvian": "cp1257",
    "Russian": "cp1251 koi8-r iso8859-5 cp866",
    "Ukrainian": "cp1251 koi8-u",
    "Greek": "cp1253 iso8859-7",
    "Hebrew": "cp1255 iso8859-8",
    "Arabic": "cp1256 iso8859-6",
    "Thai": "tis-620 cp874",
    "Japanese": "cp932 euc_jp iso2022_jp",
    "Chinese": "gb18030 gbk gb2312",
    "Taiwanese": "big5",
    "Korean": "cp949 euc_kr iso2022_kr",
}
UNICODE = "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be"
DOUBLE = ("cp932", "euc_jp", "gb18030", "gbk", "big5", "cp949", "euc_kr")
FRENCH, JAPANESE = TEXTS["French"], TEXTS["Japanese"]


def read(data: bytes) -> tuple[str, Counter[str]]:
    changes = Counter[str]()
    return decode(data, changes=changes), changes


@pytest.mark.parametrize("language", TEXTS)
def test_text_is_read_in_its_encoding(language: str) -> None:
    text = "\n".join([TEXTS[language]] * 3)
    for encoding in (ENCODINGS[language] + " " + UNICODE).split():
        assert read(text.encode(encoding)) == (text, Counter()), encoding


@pytest.mark.parametrize("language", TEXTS)
def test_one_bad_byte_costs_nothing_else(language: str) -> None:
    text = "\n".join([TEXTS[language]] * 3)
    chance = random.Random(1)
    for bad in (b"\xe4", b"\xe9", b"\x92", b"\xff", b"\x80", b"\xd0"):
        at = chance.randrange(2, len(text) - 2)
        found, changes = read(text[:at].encode() + bad + text[at:].encode())
        assert found[:at] + found[at + 1 :] == text
        assert found[at] in ("\ufffd", bad.decode("cp1252"))
        assert changes == {"stray bytes": 1}
    byte = "Straße, Tür und Büro, ".encode() * 9 + "Straße".encode("cp1252")
    assert read(byte)[0].endswith("Tür und Büro, Straße")


@pytest.mark.parametrize("language", TEXTS)
def test_a_text_cut_anywhere_loses_no_more_than_the_cut_characters(language: str) -> None:
    data = ("\n".join([TEXTS[language]] * 3)).encode()
    for start in range(8):
        for end in range(8):
            part = data[start : len(data) - end]
            assert read(part)[0] == part.decode("utf-8", "ignore")


@pytest.mark.parametrize("encoding", DOUBLE)
def test_double_byte_text_cut_anywhere(encoding: str) -> None:
    language = next(name for name, known in ENCODINGS.items() if encoding in known.split())
    text = TEXTS[language] * 3
    data = text.encode(encoding)
    ends = [0]
    for character in text:
        ends.append(ends[-1] + len(character.encode(encoding)))
    for start in range(4):
        for end in range(3):
            first = next(n for n, place in enumerate(ends) if place >= start)
            last = next(n for n in reversed(range(len(ends))) if ends[n] <= len(data) - end)
            found = read(data[start : len(data) - end])[0]
            # The second half may be a letter of ASCII, of which nobody can tell.
            assert found[found[0].isascii() :] == text[first:last]


@pytest.mark.parametrize(
    ("language", "encoding"),
    [("Japanese", "cp932"), ("Chinese", "gb18030"), ("Taiwanese", "big5"), ("Russian", "koi8-r")],
)
def test_a_verdict_holds_at_any_length(tmp_path: Path, language: str, encoding: str) -> None:
    """Wherever samples and chunks are cut, and however late the first letter comes."""
    lines = f"{TEXTS[language]}\n"
    path = tmp_path / "a.txt"
    for copies, ascii_before, shift in ((600, 0, 0), (600, 0, 1), (5000, 0, 1), (3, 1_100_000, 0)):
        text = "x" * shift + "1" * ascii_before + "\n" * bool(ascii_before) + lines * copies
        path.write_bytes(text.encode(encoding))
        assert detect_encoding(path).name in (encoding, "cp950", "koi8-u")
        assert read_text(path, limit=10**8) == text
        assert list(read_lines(path, limit=10**8)) == text.splitlines()


def test_a_declared_encoding_is_believed_unless_the_text_contradicts(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    page = '<meta http-equiv="Content-Type" content="text/html; charset={}"><p>{}</p>'
    for charset, text, encoding in (
        ("windows-1251", "да", "cp1251"),
        ("gb2312", "镕", "gb18030"),  # not in GB 2312 itself
        ("iso-8859-1", TEXTS["Russian"], "cp1251"),  # what editors write without being told
    ):
        path.write_bytes(page.format(charset, text).encode(encoding))
        assert read_text(path, limit=10**6) == page.format(charset, text)
    assert read(b"# -*- coding: latin-1 -*-\nname = '\xe9\xb5'")[0].endswith("'éµ'")


def test_bytes_that_are_not_utf8_far_into_a_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"plain words " * 200_000 + "café".encode("cp1252"))
    assert read_text(path, limit=10**7).endswith("café")


def test_a_few_zeros_make_no_file_binary(tmp_path: Path) -> None:
    page = f"<html><body><p>{'Words of a page that are here to be read. ' * 200}</p></body></html>"
    path = tmp_path / "a.html"
    path.write_bytes(page.encode().replace(b"be read", b"be\0 read", 5))
    context = Context.of_file(DataConfig(), "a.html", tmp_path)
    (found,) = extract(path, kind="html", context=context)
    assert isinstance(found, Extracted)
    assert found.text.count("here to be read") == 200
    assert found.changes["NUL characters"] == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\x7fELF" + b"\1" * 50, "binary file"),
        (b"%PDF-1.7 text", "binary file"),
        (bytes(range(256)) * 40, "binary file"),
        (b"\1\2\3\4" * 100, "binary file"),
        (random.Random(1).randbytes(5000), "binary file"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(UnreadableError, match=reason):
        detect_encoding(path)


def test_lines_are_read_without_holding_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n" + b"x" * 3_000_000 + b"\rtwo\n\nthree")
    assert list(read_lines(path, limit=1000)) == ["one", None, "two", "", "three"]
