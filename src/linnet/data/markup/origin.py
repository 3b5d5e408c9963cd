"""Is an HTML file text from the web, or a page of somebody's own documents?

The rules for web text (Gopher, C4, FineWeb) were made for what a crawler brings
home. Documentation, intranet pages and texts saved as HTML by an office program
would lose much by them, though their owner put them there on purpose.
"""

from __future__ import annotations

import re

_LOOKED_AT = 400_000  # characters
_LEAST_LINKS = 3
_LINK = re.compile(r"""<a\s[^>]{0,300}?href\s*=\s*["']?([^"'\s>]{1,300})""", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def is_web_page(source: str) -> bool:
    """Whether most links of the page lead to places on the web, or to its site's root.

    Pages that belong together on a disk link to each other relatively. A page
    with hardly a link tells nothing: it is taken for a document.
    """
    relative = absolute = 0
    for found in _LINK.finditer(source, 0, _LOOKED_AT):
        target = found[1]
        if target.startswith(("#", "mailto:", "javascript:")):
            continue
        if target.startswith("/") or _SCHEME.match(target):
            absolute += 1
        else:
            relative += 1
    return absolute >= _LEAST_LINKS and absolute > relative
