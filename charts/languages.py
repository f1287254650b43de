"""What questions in other languages than English ask for: a year, a count, a share, a magnitude.

Chinese, Hindi, Spanish, French, Arabic, Bengali, Portuguese, Russian, German and Japanese are known by their usual
question words. Nothing else of the strict rule reads them: a set in another language sets `answer_kind`.
"""

import re
import unicodedata

_FEW = r"(?: [^\s?.]+){0,3}?"  # up to three words between the question word and its noun
_NO_DATE = r"(?! (?:de |d'|von |в )?\d)"  # "the year 2010" is given, not asked for


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile(unicodedata.normalize("NFC", "|".join(patterns)))


YEAR = _any(
    r"哪[一些几幾個个]*年|何年|什么年|什么时候|甚麼時候|何时|何時|年份是|いつ|どの年",
    r"(?:किस|कौन[- ]?सा|कौन[- ]?से|किन)(?: [^\s?]+)? ?(?:वर्ष|साल|सन|वर्षों|सालों)|^कब| कब",
    rf"\b(?:qu[eé]|cu[aá]l(?:es)?)\b{_FEW} años?\b{_NO_DATE}|^¿?(?:desde |hasta )?cu[aá]ndo\b",
    rf"\bquelles?\b{_FEW} ann[ée]es?\b{_NO_DATE}|^(?:depuis |jusqu'à )?quand\b|à quel moment\b",
    r"أي[ةّ]? (?:عام|سنة|الأعوام|السنوات)|(?:ما|هو|هي) (?:العام|السنة)|متى",
    r"কোন (?:বছর|সাল)|কত সাল|কখন",
    rf"\b(?:que|qual|quais)\b{_FEW} anos?\b{_NO_DATE}|^(?:desde |até )?quando\b",
    rf"\bкак(?:ой|ом|ого|ому|ие|их|им)\b{_FEW} год(?:у|а|ы|ах|ом|ов)?\b{_NO_DATE}|^(?:с |до )?когда\b",
    rf"\bwelche[mnrs]?\b{_FEW} jahre?[ns]?\b{_NO_DATE}|^(?:seit |bis |ab )?wann\b",
)
HOW_MANY = _any(
    r"有多少|(?:多少|几|幾)[个個条條种種名家次项項座根只类類位]|いくつ|何[個本人種か]",
    r"कितने|कितनी",
    r"\bcu[aá]nt[oa]s\b|\bcombien d[e']|\bquant[oa]s\b|\bсколько\b|\bwie ?viele\b",
    r"كم عدد|^كم (?!كان|بلغ|تبلغ|يبلغ|نسبة|قيمة)|কত(?:টি|জন|গুলি)",
)
PERCENT = _any(
    r"百分|比例|占比|份额|割合|パーセント|प्रतिशत|फीसदी|फ़ीसदी|শতাংশ",
    r"\bporcentajes?\b|\bpor ?ciento\b|\bproporci[oó]n\b|\bpourcentages?\b|\bpour ?cent\b|\bporcentage[mn]s?\b",
    r"\bpor ?cento\b|процент|\bдол[яюие]\b|\bprozent|\banteil|نسبة|بالمئة|بالمائة|في المئة|في المائة",
)
MAGNITUDE = _any(
    r"[万萬亿億兆]|लाख|करोड़|मिलियन|हज़ार|हजार|কোটি|লাখ|ألف|آلاف|مليون|ملايين|مليار",
    r"\bmil(?:es)?\b|\bmill[oó]n(?:es)?\b|\bmillions?\b|\bmilliers?\b|\bmilliards?\b|\bmilh(?:ão|ões|ares)\b|\bbilh(?:ão|ões)\b",
    r"тыс|миллион|миллиард|\bмлн\b|\bмлрд\b|\btausende?n?\b|\bmillionen\b|\bmilliarden\b",
)
