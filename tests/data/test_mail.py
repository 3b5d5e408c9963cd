"""Mails written by the standard library, real ones, and hostile ones."""

from __future__ import annotations

import binascii
import contextlib
import mailbox
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from linnet.data import kinds
from linnet.data.config import DataConfig
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract import Context, extract
from linnet.data.extract.mail import own_text
from linnet.data.extract.mime import unflowed

HISTORY = "\n".join(f"> line {n} of what was asked" for n in range(6))
OUTLOOK = (
    "From: Bo <bo@b.org>\nSent: Monday, 6 May 2024 12:00\nTo: Ann\nSubject: Budget\n\nOld words."
)


def read(path: Path) -> tuple[list[Extracted], list[Dropped]]:
    context = Context.of_file(DataConfig(), path.name, path.parent)
    found = list(extract(path, kind=kinds.kind_of(path.name), context=context))
    return (
        [one for one in found if isinstance(one, Extracted)],
        [one for one in found if isinstance(one, Dropped)],
    )


def mail(body: str, **headers: str) -> EmailMessage:
    message = EmailMessage()
    values = {"From": "Ann <ann@a.org>", "To": "bo@b.org", "Subject": "Budget"} | headers
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message


def saved(path: Path, message: EmailMessage) -> Path:
    path.write_bytes(message.as_bytes())
    return path


def test_head_own_words_attachments_and_the_mail_within(tmp_path: Path) -> None:
    message = mail(
        "Grüße,\n\nthe plan is attached.\n\n-- \nAnn\n+49 30 1234\n\n"
        f"On Mon, 6 May 2024, Bo wrote:\n{HISTORY}",
        Subject="Re: Größe des Budgets",
        References="<root@b.org> <second@b.org>",
        In_Reply_To="<second@b.org>",
    )
    message.add_alternative("<p>the HTML of it</p>", subtype="html")
    message.add_attachment("A plan\nof two lines.\n", filename="Pläne/plan.txt")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="a.png")
    message.add_attachment(mail("The mail within.", Subject="Old"))
    documents, dropped = read(saved(tmp_path / "a.eml", message))
    assert documents[0].text == (
        "From: Ann <ann@a.org>\nTo: bo@b.org\nSubject: Re: Größe des Budgets\n\n"
        "Grüße,\n\nthe plan is attached."
    )
    assert documents[0].changes == {"quoted lines": 7, "signature lines": 4}
    assert documents[1].text == "A plan\nof two lines."
    assert documents[2].text.endswith("Subject: Old\n\nThe mail within.\n".rstrip())
    assert [one.part for one in documents] == ["", "plan.txt", "Old.eml"]
    assert [one.group for one in documents] == ["a.eml", "a.eml/plan.txt", "a.eml/Old.eml"]
    assert {one.thread for one in documents} == {"root@b.org"}
    assert dropped == [Dropped("not a text format", "a.png")]


@pytest.mark.parametrize(
    ("body", "own"),
    [
        (f"Yes.\n\nOn 6 May 2024 at 12:00, Bo\n<bo@b.org> wrote:\n\n{HISTORY}", "Yes."),
        (f"Ja.\n\nAm 06.05.24 um 12:00 schrieb Bo:\n{HISTORY}\n\n-- \nAnn", "Ja."),
        (f"Yes.\n\n-----Original Message-----\n{OUTLOOK}", "Yes."),
        (f"Yes.\n\n{'_' * 32}\n{OUTLOOK}", "Yes."),
        (f"Yes.\n\n{OUTLOOK}", "Yes."),
    ],
)
def test_history_that_ends_a_mail_goes(body: str, own: str) -> None:
    text, left_out = own_text(body)
    assert text == own
    assert left_out["quoted lines"] >= 4


@pytest.mark.parametrize(
    "body",
    [
        f"{HISTORY}\n\nMy answer to all of it.",
        "> a question\n> of two lines\n\nYes.\n\n> another\n\nNo.",
        "On 6 May 2024, Bo wrote:\n> One\n> two\n\nYes.\n\n> three\n> four\n\nNo.",
        HISTORY,
        "See:\n\n> a short quotation\n> of two lines",
        "On 6 May we met. This is what he\nwrote: nothing.",
        "Hi,\n\nOn 3 March 2026 the insurer wrote:\n\nWe accept.\nIt is paid.\nSoon.\n\nKeep it.",
        "From: here\nto there\nit is\nfar",
        "The trip:\n\nFrom: Berlin\nTo: Hamburg\nDate: 3 March\nBy: train\nSeat: 4\n\nSee you.",
    ],
)
def test_what_is_answered_and_what_is_quoted_on_purpose_stays(body: str) -> None:
    assert own_text(body) == (body, {})


def test_forwarded_mails_keep_what_was_sent() -> None:
    body = f"Look.\n\n-----Original Message-----\n{OUTLOOK}"
    assert own_text(body, forwarded=True) == (body, {})
    body = f"Look.\n\n---------- Forwarded message ---------\n{OUTLOOK}"
    assert own_text(body) == (body, {})


def test_flowed_paragraphs_by_the_example_of_rfc_3676() -> None:
    source = (
        "`Take some more tea,' the March Hare \nsaid to Alice, very earnestly.\n\n"
        "> Quoted lines \n> flow as well,\n>> not into others.\n-- \nA signature"
    )
    assert unflowed(source) == (
        "`Take some more tea,' the March Hare said to Alice, very earnestly.\n\n"
        "> Quoted lines flow as well,\n>> not into others.\n-- \nA signature"
    )
    assert unflowed("one \ntwo", delete_space=True) == "onetwo"


@pytest.mark.parametrize(
    ("text", "encoding", "declared"),
    [
        ("Grüße aus Köln, schöne Füße", "cp1252", "iso-8859-1"),
        ("Grüße aus Köln, schöne Füße", "utf-8", "no-such-charset"),
        ("Grüße aus Köln, schöne Füße", "cp1252", "us-ascii"),
        ("Grüße aus Köln, schöne Füße", "cp1252", "utf-8"),
        ("שלום לכולם, מה שלומכם היום", "iso-8859-8", "iso-8859-8-i"),
        ("これは日本語のメールです。", "shift_jis", "Shift_JIS"),
        ("Привет, как дела сегодня? Это письмо.", "koi8-r", "koi8-r"),
        ("Привет, как дела сегодня? Это письмо.", "utf-8", "punycode"),
    ],
)
def test_charsets_are_survived(tmp_path: Path, text: str, encoding: str, declared: str) -> None:
    path = tmp_path / "a.eml"
    head = f"From: a@b.org\nSubject: x\nContent-Type: text/plain; charset={declared}\n\n"
    path.write_bytes(head.encode() + text.encode(encoding))
    assert read(path)[0][0].text.endswith(f"\n\n{text}")


def test_japanese_of_seven_bits_is_read_without_being_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    text = "田中様\nお問い合わせありがとうございます。会議は三月五日です。"
    subject = "会議のお知らせ"
    for declared in (b"", b"Content-Type: text/plain;\n", b"Content-Type: text/plain; charset=x\n"):
        head = b"From: a@b.org\nSubject: " + subject.encode("iso2022_jp") + b"\n" + declared
        path.write_bytes(head + b"\n" + text.encode("iso2022_jp"))
        assert read(path)[0][0].text == f"From: a@b.org\nSubject: {subject}\n\n{text}"


@pytest.mark.parametrize(
    "plain", ["\r\n", "\xa0\n \n", "Your mail program cannot display HTML. Open it in a browser."]
)
def test_plain_text_that_says_nothing_gives_way_to_html(tmp_path: Path, plain: str) -> None:
    message = mail("x")
    message.set_content(plain, cte="base64")
    message.add_alternative("<p>The chairs come on Thursday.</p>", subtype="html")
    (found,), _ = read(saved(tmp_path / "a.eml", message))
    assert found.text.endswith("\n\nThe chairs come on Thursday.")


@pytest.mark.parametrize("cut", [False, True])
def test_a_uuencoded_file_is_an_attachment(tmp_path: Path, cut: bool) -> None:
    content = b"Row %d of the file that is attached here, in full.\n" * 20
    lines = [binascii.b2a_uu(content[n : n + 45]).decode() for n in range(0, len(content), 45)]
    coded = "begin 644 plan.txt\n" + "".join(lines) + ("" if cut else "`\nend\n")
    body = f"Here is the plan.\n\n{coded}" + ("" if cut else "\nAnn")
    documents, _ = read(saved(tmp_path / "a.eml", mail(body)))
    assert documents[0].text.endswith("Here is the plan." + ("" if cut else "\n\n\nAnn"))
    assert documents[1].part == "plan.txt"
    assert documents[1].text.encode() == content.strip()
    body = "To begin 644 lines were read,\nbegin 644 times\nand then the end\nend"
    assert read(saved(tmp_path / "b.eml", mail(body)))[0][0].text.endswith(body)


def test_what_pgp_adds_to_a_text_goes(tmp_path: Path) -> None:
    body = (
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nThe words.\n"
        "-----BEGIN PGP SIGNATURE-----\n\niQEzBAEBCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----"
    )
    (found,), _ = read(saved(tmp_path / "a.eml", mail(body)))
    assert found.text.endswith("\n\nThe words.")
    assert found.changes["signature lines"] >= 8


def test_quotations_in_html_are_history_too(tmp_path: Path) -> None:
    message = mail("x")
    message.set_content(
        "<p>Yes.</p><div>On 6 May 2024, Bo wrote:<blockquote type=cite>One<br>two<br>three<br>four"
        "<blockquote>five</blockquote></blockquote></div>",
        subtype="html",
    )
    (found,), _ = read(saved(tmp_path / "a.eml", message))
    assert found.text.endswith("Subject: Budget\n\nYes.")
    assert found.changes["quoted lines"] >= 5


def test_mailboxes_are_divided_as_the_standard_library_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    box = mailbox.mbox(path)
    bodies = [f"Mail {n}.\n\nFrom here on it is number {n}.\n\nEnd." for n in range(30)]
    for number, body in enumerate(bodies):
        message = mail(body, Message_ID=f"<{number}@a.org>")
        if number == 7:
            message.add_attachment("Attached.", filename="a.txt")
        box.add(message)
    box.close()
    documents, dropped = read(path)
    assert not dropped
    mails = [one for one in documents if not one.part.endswith(".txt")]
    assert [one.text.split("\n\n", 1)[1] for one in mails] == bodies
    assert [one.part for one in mails] == [f"#{n}" for n in range(1, 31)]
    assert documents[8].part == "#8/a.txt"
    assert documents[8].group == "a.mbox/#8/a.txt"
    assert documents[8].thread == "7@a.org"


def test_a_damaged_mail_in_a_mailbox_costs_only_itself(tmp_path: Path) -> None:
    start = "From x@y Mon May  6 12:00:00 2024\n"
    good = "From: a@b.org\nSubject: Good\n\nFine words.\n\n"
    sealed = "From: a@b.org\nContent-Type: multipart/encrypted; boundary=x\n\n--x\n\ny\n--x--\n\n"
    path = tmp_path / "a.mbox"
    unusual = "X-Mailer: y\nLines: 1\n\nIts head says little.\n\n"
    bare = "No head at all.\n\n"
    path.write_text(
        f"{start}{good}{start}{sealed}{start}\n{start}{unusual}{start}{bare}{start}{good}"
    )
    documents, dropped = read(path)
    assert [one.part for one in documents] == ["#1", "#4", "#5", "#6"]
    assert [one.text.strip() for one in documents[1:3]] == [
        "Its head says little.", "No head at all.",
    ]  # fmt: skip
    assert dropped == [Dropped("encrypted", "#2"), Dropped("empty file", "#3")]
    path.write_text("Just a text.")
    assert [one.kind for one in read(path)[0]] == ["text"]


def test_real_mails(test_data: Path) -> None:
    files = sorted((test_data / "documents" / "eml").glob("*.eml"))
    assert len(files) > 30
    unreadable = {}
    for path in files:
        try:
            documents, _ = read(path)
        except UnreadableError as error:
            unreadable[path.name] = error.reason
            continue
        for one in documents:
            assert one.text.strip()
            if one.family == "mail":
                assert "�" not in one.text
                assert one.text.startswith("From: ")
    assert unreadable == {"empty.eml": "empty file", "fake-encrypted.eml": "encrypted"}
    (hebrew,), _ = read(test_data / "documents" / "eml" / "email-no-utf8-2008-07-16.062410.eml")
    assert "Subject: RE: שלום\n" in hebrew.text
    assert "סלבה היקר" in hebrew.text


def test_outlook_mails_are_read_as_by_oxmsg(test_data: Path) -> None:
    oxmsg = pytest.importorskip("oxmsg")
    for path in sorted((test_data / "documents").glob("*.msg")):
        if "encrypted" in path.name:
            with pytest.raises(UnreadableError, match="encrypted"):
                read(path)
            continue
        reference = oxmsg.Message.load(str(path))
        documents, _ = read(path)
        head, _, words = documents[0].text.partition("\n\n")
        assert words == reference.body.replace("\r\n", "\n").strip()
        assert f"Subject: {reference.subject}" in head
        assert f"From: {reference.sender}" in head
        attached = [one.file_bytes.decode() for one in reference.attachments]
        assert [one.text for one in documents[1:]] == attached


def test_names_and_bytes_that_no_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    part = b"Content-Type: text/plain\nContent-Disposition: attachment; filename="
    path.write_bytes(
        b"From: a\nSubject: =?x?q?a?= \\ud800\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n"
        b"Words \x01\x02\x00\xff here.\n--b\n"
        + part
        + b'"../../etc/a\x00\x01.t\x00xt"\n\nAttached.\n'
        b"--b\n" + part + b'"=?x?q?a?= \\ud800.txt"\n\nToo.\n--b--\n'
    )
    documents, _ = read(path)
    assert documents[0].text.endswith("here.")
    assert [one.text for one in documents[1:]] == ["Attached.", "Too."]
    assert all((one.part + one.group + one.thread).isprintable() for one in documents)


def test_hostile_mails_take_no_time(tmp_path: Path) -> None:
    text = "Content-Type: text/plain\n\nx\n"
    hostile = {
        "parentheses": f"From: {'(' * 200_000}\nSubject: x\n{text}",
        "words": f"From: a\nSubject: {'=?a?q?' * 100_000}\n{text}",
        "parameters": f"From: a\nContent-Type: text/plain{';' * 500_000}\n\nx\n",
        "references": f"From: a\nReferences: {'<' * 500_000}\n{text}",
        "quotes": "From: a\n\nx\n" + "On 1 2 wrote\n" * 100_000 + "> a\n" * 10,
        "nested": "From: a\n" + "Content-Type: message/rfc822\n\n" * 2_000 + "From: a\n\nx\n",
        "parts": "From: a\nContent-Type: multipart/mixed; boundary=b\n\n" + "--b\n\nx\n" * 50_000,
    }
    for name, source in hostile.items():
        path = tmp_path / "a.eml"
        path.write_text(source)
        start = time.process_time()
        with contextlib.suppress(UnreadableError):
            read(path)
        assert time.process_time() - start < 20, name  # a quadratic reader takes minutes
