"""Yes and no, with or without an explanation that agrees with it."""

import re

_WORDS = {"yes": True, "true": True, "no": False, "false": False}
_EXPLAINED = re.compile(
    r"(yes|no|true|false)(?:[,.;:!] ?| ?- ?| ?(?=\()"
    r"| (?=(?:because|since|as|it|its|it's|they|there|this|that|the)\b))(.+)"
)
_DOUBTS = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|but|unless|unsure|unclear|wait|depends|doubt)\b"
    r"|\b(?:not|n't) (?:really|sure|certain)\b|\b(?:may|might|could) (?:be|not|also)\b"
    r"|\b(?:cannot|can't) (?:be )?(?:say|said|tell|told|determined?|know|known|answer)"
)
_NOT = r"(?:\bnot?\b|n't\b|\bnever\b|\bnone\b|\bneither\b|\bnor\b)"
_NEGATED = re.compile(_NOT)
_UNTRUE = re.compile(rf"{_NOT} (?:true|correct|right|the case)\b|\b(?:false|untrue|incorrect)\b|(?:\bis|'s) wrong\b")
_TWICE = re.compile(rf"{_NOT} (?:false|untrue|incorrect)\b")
_AFFIRMS = re.compile(
    r"\b(?:is|are|was|were|does|do|did|has|have|had|can|will)(?: true| correct| right)?$"
    r"|\b(?:it|that|this)(?:'s| is) (?:true|correct|right)\b(?! (?:of|side))"
)
_YES = re.compile(r"\b(?:yes|true)\b")
_CONTRASTED = re.compile(rf"({_NOT}.*),? but (?:a|an|the|rather|instead)\b")


def read_boolean(text: str) -> bool | None:
    """True, False, or None where `text` says neither, both, or explains its word away ("Yes, it is not")."""
    lowered = text.lower()
    if lowered in _WORDS:
        return _WORDS[lowered]
    match = _EXPLAINED.fullmatch(lowered)
    if not match:
        return None
    said, why = _WORDS[match[1]], match[2]
    denies = bool(_NEGATED.search(why) or _UNTRUE.search(why))
    if said:
        return None if denies or _DOUBTS.search(why) else True
    if _TWICE.search(why) or (not denies and _AFFIRMS.search(why)):
        return None
    why = _UNTRUE.sub("", _CONTRASTED.sub(r"\1", why))
    return None if _DOUBTS.search(why) or _YES.search(why) else False
