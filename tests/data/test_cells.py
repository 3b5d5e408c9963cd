"""Numbers as cells show them, against the examples of Microsoft's documentation."""

from __future__ import annotations

import pytest

from linnet.data.extract.number_format import displayed

# From "Review guidelines for customizing a number format" (support.microsoft.com).
PUBLISHED = [
    (1234.59, "####.#", "1234.6"),
    (8.9, "#.000", "8.900"),
    (0.631, "0.#", "0.6"),
    (1234.568, "#.0#", "1234.57"),
    (12, "#.0#", "12.0"),
    (12000, "#,###", "12,000"),
    (12000, "#,", "12"),
    (12200000, "0.0,,", "12.2"),
    (12, "00000", "00012"),
    (123, "00000", "00123"),
    (0.08, "0%", "8%"),
    (2.8, "0%", "280%"),
    (12200000, "0.00E+00", "1.22E+07"),
    (125.74, '$0.00" Surplus";$-0.00" Shortage"', "$125.74 Surplus"),
    (-125.74, '$0.00" Surplus";$-0.00" Shortage"', "$-125.74 Shortage"),
]
# From ECMA-376 part 1, sections 18.17.4.1 and 18.17.4.2: serial numbers and their dates.
DATES = [
    (1, "1900-01-01", False),
    (59, "1900-02-28", False),
    (61, "1900-03-01", False),
    (2958465, "9999-12-31", False),
    (0, "1904-01-01", True),
    (2957003, "9999-12-31", True),
]


@pytest.mark.parametrize(("value", "code", "shown"), PUBLISHED)
def test_published_examples(value: float, code: str, shown: str) -> None:
    assert displayed(value, code) == shown


@pytest.mark.parametrize(("serial", "shown", "epoch_1904"), DATES)
def test_serial_numbers_of_days(serial: int, shown: str, epoch_1904: bool) -> None:
    assert displayed(serial, "yyyy\\-mm\\-dd", epoch_1904=epoch_1904) == shown


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (0.5, "h:mm AM/PM", "12:00"),
        (1.5, "[h]:mm:ss", "36:00:00"),
        (45000.25, "[$-409]m/d/yy h:mm;@", "2023-03-15 06:00"),
        (45000, 'yyyy"年"m"月"d"日"', "2023-03-15"),
        (-5, '_(* #,##0.00_);_(* \\(#,##0.00\\);_(* "-"??_);_(@_)', "(5.00)"),
        (0, '_(* #,##0.00_);_(* \\(#,##0.00\\);_(* "-"??_);_(@_)', "-"),
        (5.5, "[$€-407] #,##0.00", "€ 5.50"),
        (123456789, "000-00-0000", "123-45-6789"),
        (2.5, "0", "3"),  # half away from zero
        (0.1 + 0.2, "General", "0.3"),
        (12345678901234, "General", "12345678901234"),
        (7, "[Red][<10]0;0", "7"),
        (-1, "yyyy", "-1"),  # no day
        (float("inf"), "0", "inf"),
    ],
)
def test_other_codes(value: float, code: str, shown: str) -> None:
    assert displayed(value, code) == shown
