"""Names of people kept out of messages: those that a server repeats of what it was sent."""

import json
import re
import urllib.parse
from collections.abc import Iterable

_CUT = "…"
"""With which a long answer ends where it was cut."""


def unnamed(text: str, names: Iterable[str]) -> str:
    """`text` without these names of subjects, as they are, or as JSON or a URL have them; nor the beginning of one at
    which a long answer was cut."""
    for name in filter(None, names):
        for form in (name, json.dumps(name)[1:-1], urllib.parse.quote(name), urllib.parse.quote(name, safe="")):
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "(subject)", text)
            for size in range(len(form) - 1, 0, -1) if _CUT in text else ():
                text = re.sub(rf"(?<!\w){re.escape(form[:size])}{_CUT}", f"(subject){_CUT}", text)
    return text
