"""How readers of documents write what they found, so that all formats look alike.

Paragraphs are parted by a blank line, list items are ``- text`` on lines of
their own, table rows are ``a | b | c`` on lines of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from linnet.data.blocks import BlockKind, Builder, Text, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_DEEPEST = 8
_TYPED_BULLET = re.compile("[•◦▪‣●■➢⮚❖\uf0b7\uf0a7](?:\\s+|$)")


# Descriptions of pictures that programs made up: they name a file, or guess.
_UNDESCRIBED = re.compile(
    r"^(?:\S+://\S+|(?:[a-z]:)?[^\n]*\.(?:png|jpe?g|gif|bmp|tiff?|emf|wmf|svg|webp))$"
    r"|^(?:picture|image|graphic|object|shape|grafik|bild|imagen?)\s*\d*$"
    r"|description automatically generated|automatisch generierte beschreibung"
    r"|description générée automatiquement|descripción generada automáticamente",
    re.IGNORECASE,
)
PAGE_NUMBER = "\uffff"
"""Stands for a page number in a paragraph until ``without_page_numbers``."""

FIELD_ERROR = re.compile(
    r"(?:Error! (?:Bookmark not defined|Reference source not found|No text of specified style in"
    r" document|Not a valid link|Not a valid bookmark self-reference|Not a valid filename"
    r"|Unknown document property name|Hyperlink reference not valid|Style not defined|Main Document"
    r" Only|Filename not specified|No (?:table of (?:contents|figures) entries|index entries)"
    r" found|No sequence specified|Unknown switch argument|AutoText entry not defined|Objects"
    r" cannot be created from editing field codes)"
    r"|Fehler! (?:Textmarke nicht definiert|Verweisquelle konnte nicht gefunden werden|Kein Text"
    r" mit angegebener Formatvorlage im Dokument|Hyperlink-Referenz ungültig|Keine gültige"
    r" Verknüpfung|Unbekannter Name für Dokument-Eigenschaft)"
    r"|Erreur\s?! (?:Source du renvoi introuvable|Signet non défini|Il n['’]y a pas de texte"
    r" répondant à ce style dans ce document|Référence de lien hypertexte non valide|Liaison"
    r" incorrecte)"
    r"|¡Error! (?:Marcador no definido|No se encuentra el origen de la referencia|No hay texto con"
    r" el estilo especificado en el documento|Referencia de hipervínculo no válida)"
    r"|Errore\. (?:Il segnalibro non è definito|L['’]origine riferimento non è stata trovata|Nel"
    r" documento non esiste testo dello stile specificato)"
    r"|Erro! (?:Fonte de referência não encontrada|Indicador não definido|Nenhum texto com o estilo"
    r" especificado foi encontrado no documento)"
    r"|Fout! (?:Verwijzingsbron niet gevonden|Bladwijzer niet gedefinieerd|Geen tekst met de"
    r" opgegeven stijl in het document)"
    r"|Ошибка! (?:Источник ссылки не найден|Закладка не определена|Текст указанного стиля в"
    r" документе отсутствует)"
    r"|Błąd! (?:Nie można odnaleźć źródła odwołania|Nie zdefiniowano zakładki|W dokumencie nie ma"
    r" tekstu o podanym stylu))\.?".replace(" ", r"\s")
)
"""What Word prints where a field has no result, in the languages that it is met in."""

_PAGE_WORDS = 3  # a stretch with a page number and no more words than these is only that
_STRETCHES = re.compile(r"([\t\n]+| {3,})")


@dataclass(slots=True)
class _Block:
    """``level``: of an item in its list, or of a heading; ``mark``: of an item; ``marks``: from
    which characters on it stands at which place of the original (``linnet.data.blocks``)."""

    kind: BlockKind
    text: str
    level: int = 0
    mark: str = ""
    marks: tuple[tuple[int, int], ...] = ()


class Layout:
    """Blocks of text in reading order. Blocks without text leave no trace.

    ``unit``: what is counted in the original, and ``number`` the one that is read (a page, a
    slide).
    """

    def __init__(self, unit: Unit = "") -> None:
        self.unit = unit
        self.number = 0
        self._blocks: list[_Block] = []

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def has_table(self) -> bool:
        return any(block.kind == "table" for block in self._blocks)

    def paragraph(
        self, text: str, *, heading: int = 0, marks: Iterable[tuple[int, int]] = ()
    ) -> None:
        """A paragraph, or an item where someone typed the bullet by hand. ``heading``: its level
        if it is one; ``marks``: places within the text."""
        if bullet := _TYPED_BULLET.match(text.strip()):
            self.item(text, marks=marks, bullet=len(bullet[0]))
        else:
            kind: BlockKind = "heading" if heading else "paragraph"
            self._add(kind, text, heading, marks=marks)

    def item(
        self,
        text: str,
        level: int = 0,
        mark: str = "",
        *,
        marks: Iterable[tuple[int, int]] = (),
        bullet: int = 0,
    ) -> None:
        """An item of a list; the level of outer items is lower. ``mark``: its number, if it
        has one; ``bullet``: characters at the beginning that are not part of it."""
        if bullet:
            bullet += len(text) - len(text.lstrip())
            marks = [(max(at - bullet, 0), number) for at, number in marks]
        self._add("list", text[bullet:], max(level, 0), mark or "-", marks)

    def code(self, text: str, *, marks: Iterable[tuple[int, int]] = ()) -> None:
        """Text whose lines and blanks mean something."""
        if _TYPED_BULLET.match(text.strip()):
            self.paragraph(text, marks=marks)
        else:
            self._add("code", text, marks=marks)

    def written(self, text: str) -> None:
        """Text that was laid out before, as it is."""
        self._add("paragraph", text)

    def picture(self, description: str) -> None:
        """What stands for a picture to those who do not see it."""
        description = " ".join(description.split())
        if description and not _UNDESCRIBED.search(description):
            self._add("paragraph", f"[Picture: {description}]")

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        self._add("table", "\n".join(row_lines(dict(enumerate(row)) for row in rows)))

    def cells(self, rows: Iterable[Sequence[Layout]]) -> None:
        """A table whose cells hold blocks; each is written on one line.

        Where a table only arranges a page (it has one column, a row holds nothing
        but one cell of several blocks, or tables lie in tables), the blocks come
        one after another.
        """
        rows = list(rows)
        single = max(map(len, rows), default=0) == 1
        pending: list[list[str]] = []
        for row in rows:
            filled = [cell for cell in row if len(cell)]
            arranged = single or (len(filled) == 1 and len(filled[0]) > 1)
            if arranged or any(cell.has_table for cell in filled):
                self.table(pending)
                pending = []
                for cell in filled:
                    self.extend(cell)
            else:
                pending.append([cell.text() for cell in row])
        self.table(pending)

    def extend(self, other: Layout) -> None:
        """All of another layout, at the place that is read."""
        for block in other._blocks:
            if self.number and not block.marks:
                block = replace(block, marks=((0, self.number),))
            self._blocks.append(block)

    def distinct(self) -> Layout:
        """The blocks with those that say the same as an earlier one left out, and mere rules."""
        found = Layout(self.unit)
        said = (block for block in self._blocks if any(map(str.isalnum, block.text)))
        found._blocks = list({(block.text, block.mark): block for block in said}.values())
        return found

    def make_heading(self, place: int, level: int) -> None:
        """What was written as a paragraph turns out to be a heading."""
        if self._blocks[place].kind == "paragraph":
            self._blocks[place].kind, self._blocks[place].level = "heading", level

    def text(self) -> Text:
        builder = Builder(self.unit)
        levels: list[int] = []  # of the items that are open, outermost first
        for block in self._blocks:
            first = further = ""
            before = "\n" if levels and block.kind == "list" else "\n\n"
            if block.kind == "list":
                while levels and levels[-1] >= block.level:
                    levels.pop()
                indent = "  " * min(len(levels), _DEEPEST)
                levels.append(block.level)
                first, further = f"{indent}{block.mark} ", f"{indent}  "
            else:
                levels.clear()
            level = block.level if block.kind == "heading" else 0
            builder.add(
                block.text,
                block.kind,
                level=level,
                before=before,
                marks=block.marks,
                first=first,
                further=further,
            )
        return builder.text()

    def _add(
        self,
        kind: BlockKind,
        text: str,
        level: int = 0,
        mark: str = "",
        marks: Iterable[tuple[int, int]] = (),
    ) -> None:
        stripped = text if kind == "table" else text.strip()
        if stripped:
            before = len(text) - len(text.lstrip())
            places = tuple((max(at - before, 0), number) for at, number in marks)
            places = places or (((0, self.number),) if self.number else ())
            self._blocks.append(_Block(kind, stripped, level, mark, places))


def row_lines(rows: Iterable[Mapping[int, str]]) -> Iterator[str]:
    """The lines of a table. A row holds its cells by column; cells without text may be left out.

    Rows and columns without text are dropped; blanks within a cell become one.
    """
    tidy = ({column: " ".join(text.split()) for column, text in row.items()} for row in rows)
    filled = [row for row in ({c: text for c, text in row.items() if text} for row in tidy) if row]
    columns = sorted({column for row in filled for column in row})
    for row in filled:
        last = max(row)
        yield " | ".join(row.get(column, "") for column in columns if column <= last)


def numbered_lines(rows: Iterable[tuple[int, Mapping[int, str]]]) -> Iterator[tuple[str, int, int]]:
    """The lines of a table, each with the number of its row (for ``blocks.from_lines``)."""
    filled = [(number, row) for number, row in rows if any(map(str.split, row.values()))]
    for (number, _), line in zip(filled, row_lines(row for _, row in filled), strict=True):
        yield line, number, 0


def without_page_numbers(text: str) -> str:
    """A paragraph without its page numbers, and without what only goes with them: "Page 3 of 7"."""
    if PAGE_NUMBER not in text:
        return text
    stretches = (
        "" if PAGE_NUMBER in stretch and len(stretch.split()) <= _PAGE_WORDS + 1 else stretch
        for stretch in _STRETCHES.split(text)
    )
    return "".join(stretches).replace(PAGE_NUMBER, "")
