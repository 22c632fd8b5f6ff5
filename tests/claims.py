"""What a report says, sentence by sentence, and the phrases by which it claims an association."""

import re
from html import unescape

CLAIMS = re.compile(
    r"(?<!not shown to )fit better than (records|those) of the average|"
    r"(?<!not )shown to be worth|forecasts later outcomes|as well as (more than )?the first|visits? alone at|"
    r"(Every|Each|Not every) random effect can be read back|"
    r"higher R²|best predictor|the highest|"
    r"most found|than half found|finds|encodes|all that the image|found \d|"
    r"carry \d|subjects? (are|is) enough|detects|80 % power: (< )?\d"
)


def plain(html):
    """The text without tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def sentences(page):
    """The text of every paragraph, item of a list, caption and verdict."""
    marked = re.findall(r"<(p|li|figcaption)\b[^>]*>(.*?)</\1>", page, re.S)
    verdicts = re.findall(r'class="verdict[^>]*>(.*?)</td>', page)
    assert len(marked) > 50 and "figcaption" in {tag for tag, _ in marked} and len(verdicts) >= 3
    return [plain(text) for text in (*(text for _, text in marked), *verdicts)]
