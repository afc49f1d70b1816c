"""Whether a text read as cp1252 makes sense: any bytes can be read so, and those of other encodings show by signs and capitals
within words."""

from __future__ import annotations

import re
import unicodedata

# Letters of Western European languages beyond ASCII. Others that cp1252 has (Š, ž, ð, þ, ý) are more often letters of
# another encoding that were read wrongly.
_LETTERS = frozenset("äöüßÄÖÜàâæçèéêëîïôœùûÿÀÂÆÇÈÉÊËÎÏÔŒÙÛáíñóúÁÍÑÓÚãõÃÕåøÅØìòÌÒ")
_SIGNS = frozenset("£€¥§©®™°±²³µ·¼½¾×÷«»‹›“”„‘’‚–—…•\xa0¡¿ªº´\xad†")
_BEHIND_WORDS = frozenset("’‘”“»›…®©™°ºª²³´\xa0–—·\xad")
_BEFORE_WORDS = frozenset("‘“„‚«‹¿¡£€¥§©°µ·±×\xa0–—•\xad’”")
_UNUSUAL = 0.02  # share of the characters beyond ASCII, above which a Western encoding is doubted


def doubtful(text: str) -> bool:
    """Whether a text read as cp1252 has what texts of Western languages do not: signs within or behind words, capitals within
    words, words of letters beyond ASCII alone, letters of other languages."""
    beyond = 0
    odd = sum(len(word) for word in re.findall(r"[^\W\d_]{2,}", text) if not re.search("[a-zA-Z]", word))
    for match in re.finditer(r"[^\x00-\x7f]", text):
        beyond += 1
        place = match.start()
        odd += _odd(match.group(), text[max(place - 1, 0) : place], text[place + 1 : place + 2])
    return odd > _UNUSUAL * beyond


def _odd(letter: str, before: str, after: str) -> bool:
    """Whether a character beyond ASCII is not to be expected between its neighbours."""
    if unicodedata.category(letter)[0] == "L" and letter not in "ªº":
        if letter not in _LETTERS or (letter.isupper() and before.islower()):
            return True
        if letter in "œŒ":
            return after.lower() not in ("u", "i")
        if (letter == "á" and before == "a") or (letter == "ÿ" and not before.isalpha()):
            return True  # ß and a hard space in code pages of DOS
        return (letter in "ùìò" and after.isalpha()) or (letter == "õ" and after != "e")
    if letter not in _SIGNS:
        return True
    if letter in "’‘" and before.isalpha() and after.isalpha():
        return before not in "ldnsmtcjquLDNSMTCJQUO" and after not in "strvldm"
    if before.isalpha() and after.isalpha():
        return letter not in "·\xad"
    return (before.isalpha() and letter not in _BEHIND_WORDS) or (after.isalpha() and letter not in _BEFORE_WORDS)
