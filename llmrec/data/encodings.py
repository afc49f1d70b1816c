"""In which encoding a text file is, if not in UTF-8: a likely one, for a message, and whether it may be gbk."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")


def is_utf8(chunks: Iterator[bytes]) -> bool:
    """Whether the chunks together are UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks:
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def coding_of(head: bytes) -> str | None:
    """UTF-16 or UTF-32, told by a byte-order mark or by the zero bytes that they put between ASCII letters; None otherwise."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) > 0.3 * len(head) / 2:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def likely_of(sample: bytes) -> str:
    """The likely encoding of a sample of lines beyond ASCII that is not UTF-8."""
    for name, expected, least in _LETTERS:
        if _share(sample, name, expected) >= least:
            return name
    return _western(sample)


def could_be_gbk(sample: bytes) -> bool:
    """Whether a sample of lines beyond ASCII may be Chinese in gbk: characters in common use, none beside small letters."""
    try:
        text = sample.decode("gb18030")
    except UnicodeDecodeError:
        return False
    runs = re.findall(r"[^\x00-\x7f]+", text)
    beside = len(re.findall(r"[a-z][^\x00-\x7f]|[^\x00-\x7f][a-z]", text))
    signs = _chinese(runs)
    common = sum(map(_common_chinese, signs))
    return bool(signs) and common >= 0.9 * len(signs) and beside <= 0.1 * len(runs)


def chance_utf8(data: bytes) -> bool:
    """Whether bytes that are UTF-8 may be so by chance: pairs such as those of 小 in gbk, which would be Cyrillic, Hebrew or
    Arabic words of one or two letters, and nothing else beyond ASCII."""
    found = False
    for run in _HIGH.finditer(data):
        text = run.group()
        if len(text) > 4 or not all(lead in (0xCC, 0xCD) or 0xD0 <= lead <= 0xDF for lead in text[::2]):
            return False
        found = True
    return found


def surely_gbk(sample: bytes) -> bool:
    """Whether a sample that could be gbk has as many of the most frequent characters as Chinese text has: two in five.

    Read from bytes of another encoding it would have one in seven.
    """
    signs = _chinese(re.findall(r"[^\x00-\x7f]+", sample.decode("gb18030")))
    return len(signs) >= 20 and sum(sign in _FREQUENT for sign in signs) >= 0.4 * len(signs)


def _chinese(runs: list[str]) -> list[str]:
    """The characters that are no full-width punctuation, letters or digits."""
    return [
        sign
        for sign in "".join(runs)
        if not "\uff00" <= sign <= "\uffef" and sign not in "，。、：；！？（）【】《》“”‘’·—…￥°×"
    ]


def _western(sample: bytes) -> str:
    return "cp1252" if re.search(rb"[\x80-\x9f]", sample) else "latin-1"


def _common_chinese(character: str) -> bool:
    """In the first level of GB 2312: the 3,755 characters most in use."""
    return "\u4e00" <= character <= "\u9fff" and 0xB0 <= character.encode("gbk", errors="replace")[0] <= 0xD7


def _share(sample: bytes, coding: str, expected: Callable[[str], bool]) -> float:
    """Share of the characters beyond ASCII that are expected ones; 0 where the sample is not in that encoding."""
    try:
        text = sample.decode(coding)
    except UnicodeDecodeError:
        return 0.0
    beyond = [character for character in text if character > "\x7f"]
    runs = _HIGH.findall(sample)
    if coding != "shift_jis" and sum(map(len, runs)) <= 2.5 * len(runs):
        return 0.0  # single letters between ASCII ones, as in Western text
    return sum(map(expected, beyond)) / max(len(beyond), 1)


def _in(low: str, high: str) -> Callable[[str], bool]:
    return lambda character: low <= character <= high


# Encoding, the letters its texts consist of, and their least share of all characters beyond ASCII. In this order, for Korean
# text is also valid Chinese.
_LETTERS: tuple[tuple[str, Callable[[str], bool], float], ...] = (
    ("shift_jis", _in("\u3041", "\u30ff"), 0.3),
    ("euc_jp", _in("\u3041", "\u30ff"), 0.3),
    ("euc_kr", _in("\uac00", "\ud7a3"), 0.95),
    ("gbk", _common_chinese, 0.6),
    ("cp1251", _in("\u0430", "\u044f"), 0.6),
    ("big5", _in("\u4e00", "\u9fff"), 0.6),
)
# The most frequent characters of Chinese text, and of shops.
_FREQUENT = frozenset(
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经十三之进着等部度"
    "家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与关各重新线内数正心反"
    "你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头"
    "基资边流路级少图山统接知较将组见计别手角期根论运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金"
    "增争济阶油思术极交受联什认六共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确才科张信马节话米整"
    "空元况今集温传土许步群广石记需段研界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近千周委素技备半办青省列习响约支般史感便团往酸"
    "历市克何除消构府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价严"
    "杯茶衣服鞋盒套女男童款黑蓝绿黄粉紫灰店客户订购买卖编瓶袋箱双双只个件块支条张木玩具瓷陶玻璃钢锈不保温壶碗盘勺刀锅灯床椅桌巾皮棉麻丝绒英"
)
