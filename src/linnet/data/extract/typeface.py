"""What text means by its typeface: the signs of symbol fonts, and raised or lowered characters.

Fonts such as Symbol and Wingdings show other signs in the places of letters: "m" in
Symbol is a micro sign. Their signs are those of Unicode (L2/12-368 for the pictures; Adobe's
table for Symbol), the plainer where it has several. Raised characters are written as
Unicode's superscripts, so that 10 to the 6th does not become 106.
"""

from __future__ import annotations

import re

_FIRST, _PRIVATE = 0x20, 0xF000  # files add the second to the place of a sign, or do not
_FONTS = {  # by their names, the signs from 0x20 on
    "symbol": (
        " !∀#∃%&∋()*+,−./0123456789:;<=>?"
        "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_"
        "‾αβχδεφγηιϕκλµνοπθρστυϖωξψζ{|}∼�"
        "��������������������������������"
        "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵"
        "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓"
        "◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪\ufffd〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭�"
    ),
    "wingdings": (
        " 🖉✂✁👓🕭🕮🕯🕿✆🖂🖃📪📫📬📭🗀🗁🗎🗏🗐🗄⌛🖮🖰🖲🖳🖴🖫🖬✇✍"
        "🖎✌🖏👍👎☜☞☝☟🖐☺😐☹💣🕱🏳🏱✈☼🌢❄🕆✞🕈✠✡☪☯🕉☸♈♉"
        "♊♋♌♍♎♏♐♑♒♓🙰🙵●🔾■☐🞐❑❒🞟⧫◆❖⬩☒⮹⌘🏵🏶🙶🙷▯"
        "🄋➀➁➂➃➄➅➆➇➈➉🄌➊➋➌➍➎➏➐➑➒➓🙢🙠🙡🙣🙞🙜🙝🙟∙•"
        "⬝⭘🞆🞈🞊🞋🔿▪☐🟁🟅★🟋🟏🟓🟑⯐⌖⯎⯏⯑✪✰🕐🕑🕒🕓🕔🕕🕖🕗🕘"
        "🕙🕚🕛⮰⮱⮲⮳⮴⮵⮶⮷🙪🙫🙕🙔🙗🙖🙐🙑🙒🙓⌫⌦⮘⮚⮙⮛⮈⮊⮉⮋←"
        "→↑↓↖↗↙↘←→↑↓↖↗↙↘⇦⇨⇧⇩⬄⇳⬁⬀⬃⬂🢬🢭✗✓☒☒�"
    ),
    "wingdings 2": (
        " 🖊🖋🖌🖍✄✀🕾🕽🗅🗆🗇🗈🗉🗊🗋🗌🗍📋🗑🗔🖵🖶🖷🖸🖭🖯🖱🖒🖓🖘🖙"
        "🖚🖛👈👉🖜🖝🖞🖟🖠🖡👆👇🖢🖣🖑✗✓☒☒☒☒⮾⮿🛇⦸🙱🙴🙲🙳‽🙹🙺"
        "🙻🙦🙤🙥🙧🙚🙘🙙🙛⓪①②③④⑤⑥⑦⑧⑨⑩⓿❶❷❸❹❺❻❼❽❾❿�"
        "☉🌕☽☾⸿✝🕇🕜🕝🕞🕟🕠🕡🕢🕣🕤🕥🕦🕧🙨🙩⋅🞄●●○🞅🞇🞉⊙⦿🞌"
        "🞍◾■☐🞑🞒🞓🞔▣🞕🞖🞗🞘⬩⬥◇🞚◈🞛🞜🞝🞞⬪⬧◊🞠◖◗⯊⯋⯀⯁"
        "⬟⯂⬣⬢⯃⯄🞡🞢🞣🞤🞥🞦🞧🞨🞩🞪🞫🞬🞭🞮🞯🞰🞱🞲🞳🞴🞵🞶🞷🞸🞹🞺"
        "🞻🞼🞽🞾🞿🟀🟂🟄🟆🟉🟊✶🟌🟎🟐🟒✹🟃🟇✯🟍🟔⯌⯍※⁂������"
    ),
    "wingdings 3": (
        " ⭠⭢⭡⭣⭦⭧⭩⭨⭰⭲⭱⭳⭶⭸⭻⭽⭤⭥⭪⭬⭫⭭⭍⮠⮡⮢⮣⮤⮥⮦⮧"
        "⮐⮑⮒⮓⮀⮃⭾⭿⮄⮆⮅⮇⮏⮍⮎⮌⭮⭯⎋⌤⌃⌥␣⍽⇪⮸🢠🢡🢢🢣🢤🢥"
        "🢦🢧🢨🢩🢪🢫🡐🡒🡑🡓🡔🡕🡗🡖🡘🡙▲▼△▽◀▶◁▷◣◢◤◥🞀🞂🞁�"
        "🞃⯅⯆⯇⯈⮜⮞⮝⮟🠐🠒🠑🠓🠔🠖🠕🠗🠘🠚🠙🠛🠜🠞🠝🠟🠀🠂🠁🠃🠄🠆🠅"
        "🠇🠈🠊🠉🠋🠠🠢🠤🠦🠨🠪🠬🢜🢝🢞🢟🠮🠰🠲🠴🠶🠸🠺🠹🠻🢘🢚🢙🢛🠼🠾🠽"
        "🠿🡀🡂🡁🡃🡄🡆🡅🡇⮨⮩⮪⮫⮬⮭⮮⮯🡠🡢🡡🡣🡤🡥🡧🡦🡰🡲🡱🡳🡴🡵🡷"
        "🡶🢀🢂🢁🢃🢄🢅🢇🢆🢐🢒🢑🢓🢔🢖🢕🢗���������������"
    ),
    "webdings": (
        " 🕷🕸🕲🕶🏆🎖🖇🗨🗩🗰🗱🌶🎗🙾🙼🗕🗖🗗⏴⏵⏶⏷⏪⏩⏮⏭⏸⏹⏺🗚🗳"
        "🛠🏗🏘🏙🏚🏜🏭🏛🏠🏖🏝🛣🔍🏔👁👂🏞🏕🛤🏟🛳🕬🕫🕨🔈🎔🎕🗬🙽🗭🗪🗫"
        "⮔✔🚲⬜🛡📦🛱⬛🚑🛈🛩🛰🟈🕴⬤🛥🚔🗘🗙❓🛲🚇🚍⛳⦸⊖🚭🗮⏐🗯🗲�"
        "🚹🚺🛉🛊🚼👽🏋⛷🏂🏌🏊🏄🏍🏎🚘🗠🛢💰🏷💳👪🗡🗢🗣✯🖄🖅🖃🖆🖹🖺🖻"
        "🕵🕰🖽🖾📋🗒🗓🕮📚🗞🗟🗃🗂🖼🎭🎜🎘🎙🎧💿🎞📷🎟🎬📽📹📾📻🎚🎛📺💻"
        "🖥🖦🖧🕹🎮🕻🕼📟🖁🖀🖨🖩🖿🖪🗜🔒🔓🗝📥📤🕳🌣🌤🌥🌦☁🌨🌧🌩🌪🌬🌫"
        "🌜🌡🛋🛏🍽🍸🛎🛍Ⓟ♿🛆🖈🎓🗤🗥🗦🗧🛪🐿🐦🐟🐕🐈🙬🙮🙭🙯🗺🌍🌏🌎🕊"
    ),
}
_ALIKE = {"symbolmt": "symbol", "symbolps": "symbol", "standardsymbolsps": "symbol",
          "standardsymbolsl": "symbol", "opensymbol": "", "itczapfdingbats": ""}  # fmt: skip
_NAMES = {name.replace(" ", ""): signs for name, signs in _FONTS.items()}
_RAISED = str.maketrans(
    "0123456789+-\u2212\u2013=()n", "\u2070\xb9\xb2\xb3\u2074\u2075\u2076\u2077\u2078\u2079"
    "\u207a\u207b\u207b\u207b\u207c\u207d\u207e\u207f",
)  # fmt: skip
_LOWERED = str.maketrans(
    "0123456789+-\u2212=()",
    "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089\u208a\u208b\u208b\u208c\u208d\u208e",
)
_PLAIN = re.compile(r"[-0-9+\u2212\u2013=()n,; ]*[0-9+\u2212n-][-0-9+\u2212\u2013=()n,; ]*")
_PLAIN_LOWERED = re.compile(r"[-0-9+\u2212=()]+")
_EXPRESSION = re.compile(r"(?=.*[0-9+=*/])[\w.,+\-\u2212=*/() ]{2,12}|[b-df-np-z]")
_LETTERS = re.compile(r"[^\W\d_]{2,}")


def is_symbolic(font: str) -> bool:
    """Does a font of this name show signs in the places of letters?"""
    return _signs(font) is not None


def decoded(text: str, font: str) -> str:
    """Text in a font, as the signs that it shows."""
    signs = _signs(font)
    if signs is None:
        return text
    return "".join(_sign(character, signs) for character in text)


def raised(text: str) -> str:
    """Superscript, written so that it is told from what stands before it.

    Ordinals and the like (1st, 2e, Mme), which mean the same on the line, stay as they are.
    """
    if _PLAIN.fullmatch(text):
        return text.translate(_RAISED)
    if _EXPRESSION.fullmatch(text) and not _LETTERS.search(text):
        return f"^{text}" if len(text) == 1 else f"^({text})"
    return text


def lowered(text: str) -> str:
    """Subscript: figures and signs as Unicode has them, all else on the line."""
    return text.translate(_LOWERED) if _PLAIN_LOWERED.fullmatch(text) else text


def _signs(font: str) -> str | None:
    name = font.partition("+")[2] or font  # a part of a font in a PDF: ABCDEF+Symbol
    name = re.sub(r"[\s_,-]|regular$", "", name.lower())
    return _NAMES.get(_ALIKE.get(name, name))


def _sign(character: str, signs: str) -> str:
    place = ord(character)
    place -= _PRIVATE if _PRIVATE <= place < _PRIVATE + 0x100 else 0
    sign = signs[place - _FIRST] if _FIRST <= place < _FIRST + len(signs) else character
    return character if sign == "\ufffd" else sign
