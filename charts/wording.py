"""The English wording by which a question says what it asks for, as patterns over its lower-case text."""

import re

_WHICH = r"(?:what|which)"
_FEW = r"(?:(?!(?:in|of|per|for|at|by|on|to|from)\b)\w+ ){0,2}?"  # adjectives before the noun
_TIME = r"(?:time(?: period| frame| span| point)?s?|periods?|seasons?|dates?|decades?|moments?|points? in time)"
YEAR = re.compile(
    r"^(?:since |until |till |by |from )?when\b|, when (?:was|were|is|are|did|does|do|has|had|will)\b"
    r"|\b(?:what|which|list|name|give|state|identify|find|tell|point out|determine|specify|indicate)\b[^?.]*?"
    r"\b(?<!\bper )(?<!\beach )(?<!\bevery )(?<!\ba )(?:years?|editions?|census)\b(?!\s*(?:of\s+)?\d)"
    r"|^(?:the )?(?:(?!(?:in|for|at|by|on|to|from|of|during|how|per)\b)\w+ )?year\b(?! (?:of )?\d)"
    r"|\byear (?:did|was|had|has|with|saw|is|when|in which|that)\b"
    rf"|\b{_WHICH} (?:(?:same|first|last|exact|specific|given|other|fiscal|two) )?{_TIME}\b(?! (?:spent|taken|needed))"
    r"|\bat what point\b|\b(?:time|period|date|moment) (?:when|in which|at which|during which)\b"
)
SEASON = re.compile(rf"\b(?:years?|season|seasons|fiscal|fy|editions?|{_TIME})\b")
HOW_MANY = re.compile(
    r"\bhow many\b|\bthe (?:total )?(?:count|number) of (?:different |distinct )?"
    r"(?:bars|lines|colou?rs|categories|groups|slices|labels|segments|sectors)\b"
)
MASSES = re.compile(  # what is surveyed or sold by the million: "How many people ...?" may be read in millions or %
    r"\bhow many (?:[\w.-]+ ){0,3}?(?:people|persons?|americans|adults|users?|subscribers?|customers?|viewers?"
    r"|visitors?|passengers?|inhabitants?|residents?|citizens|workers?|employees|students?|tourists|households?|women|men|voters?"
    r"|respondents|consumers|dollars|euros|pounds|yen|units|vehicles|copies|downloads|shares|tons|tonnes|barrels)\b"
)
READ_FROM_AXIS = re.compile(
    r"\bhow many (?:%|per ?cent|percentage|thousand|million|billion|trillion|mn\b|bn\b|hundred)"
    r"|\bhow many (?:[\w.-]+ ){0,4}?(?:\(?in (?:thousand|million|billion|trillion)s?\b"
    r"|\((?:thousand|million|billion)s?\)|(?:in|as an?) (?:per ?cent|percentage)|(?<!\d )\(?%)"
)
PERCENT = re.compile(
    r"(?<![\d.])(?<![\d.]\s)(?:%|\bper ?cents?\b|\bpct\b)|\bpercentages?\b"
    r"|(?<!per )\bshare\b(?! price)|(?:are|were) the (?:\w+ )?shares\b"
    r"|\bproportions?\b"
)
SCALE = re.compile(
    r"(?:\b(?:in|of|by|how many)|\() ?(?:u\.?s\.? |(?:us|usd|eur|gbp)? ?[$€£]? ?)?"
    r"(thousands?|millions?|billions?|trillions?|mn|bn)\b|\((\w+) ?\)"
)
NAMED = re.compile(  # a magnitude or a share anywhere in the question
    r"%|\b(?:per ?cents?|pct|percentages?|shares?|proportions?|thousands?|millions?|billions?|trillions?|mn|mln|bn"
    r"|lakhs?|crores?|ratios?|fractions?|in (?:\w+ )?points|per 1[0,]+)\b|\d ?[kmb]\b"
)
DIMENSION = re.compile(
    rf"\b{_WHICH}(?:'s| is| was| are| were| will be)? (?:the )?{_FEW}(?:ages?|temperatures?|weights?|speed"
    r"|distance|depth|duration|life expectancy|rank|ranking|rating|position|latitude|longitude|factor)\b"
    r"(?! (?:group|range|bracket|band|cohort|category|distribution|structure|change|growth))"
    r"|\bhow (?:old|tall|long|far|heavy|hot|cold|warm|deep|wide)\b"
)
AGE = re.compile(rf"\b{_WHICH}(?:'s| is| was| are| were) (?:the )?{_FEW}ages?\b(?! \w+ is)(?= of|\?|$)|\bhow old\b")
PRICE = re.compile(r"\b(?:prices?|costs?|salary|salaries|wages?|rents?|fees?)\b")
PER = re.compile(r"\bper (?!cent)")
CHANGE = re.compile(r"\b(?:growth|gr[eo]w|change[ds]?|increased?|decreased?|fell|rose|inflation|rates?|index|margin)\b")
UNIT = re.compile(
    r"\bin (?:the )?(?:units? of )?((?:(?! in )[^?.,;()])+)|\bhow many ([^?.,;()]+)"
    r"|\(([^()]+)\)|\bnumber of ([^?.,;()]+)"
)
SPANS = {"year", "month", "week", "day", "hour", "minute", "second"}  # "in the year 2010" names no unit
SHORT_SPANS = {"year", "month", "week", "day", "h", "min", "s"}
ORDER = re.compile(
    r"\b(?:ascending|descending|increasing|decreasing|chronological|alphabetical|respectively|respective|coordinates?)\b"
    r"|\bin (?:the )?(?:\w+ )?order\b|\border(?:ed)? (?:of|by|from)\b"
    r"|\b(?:sort|sorted|rank|ranked|ranking|arrange|arranged)\b"
    r"|\bfrom (?:the )?(?:highest|lowest|largest|smallest|most|least|top|left|right|first|earliest|latest)\b[^?]* to\b"
    r"|\b(?:highest|lowest|largest|smallest|earliest|latest|most|least) first\b"
)
SET = re.compile(  # asks for so many things as a set, whatever is named beside them
    r"\b(?:which|what) (?:two|three|four|five|six|\d+)\b|\b(?:two|three|four|five|six|\d+) (?:\w+est|most|least)\b"
    r"|\btop (?:two|three|four|five|\d+)\b|\b(?:same|equal|identical|either|intersect|cross)\b"
    r"|(?<!of )(?<!for )\bboth\b"
)
BETWEEN = re.compile(r"\bbetween [^?,]*? and\b")
JOINED = re.compile(
    r"(?:,\s*)?\band\b|\bversus\b|\bvs\b|&|,\s+(?=\w)|\bas well as\b|\bfollowed by\b|(?<=[a-z]{3})/(?=[a-z]{3})"
)
_EXTREME = (
    r"(?:\w+est|most|least|first|second|third|last|top|bottom|left|right|upper|lower|max\w*|min\w*|worst|good|bad"
    r"|mean|median|average|men|women|boys|girls|males?|females?|red|blue|green|yellow|orange|purple|pink|black|white"
    r"|gr[ae]y|brown|solid|dashed|dotted|dark|light)"
)
CONTRAST = re.compile(
    rf"\b{_EXTREME}\b(?: \w+){{0,2}} and (?:the )?(?:second )?{_EXTREME}\b"
    r"|\b(?:represents?|stands? for|denotes?|used for) [^?]{0,60} and "
    r"|\bdo(?:es)? [^?]{0,120} and [^?]{0,120} (?:represent|stand for|show|mean)\b"
    r"|^what (?:are|were) [^?]*?\bof (?:the )?[\w']+(?: [\w']+)? and (?:the )?[\w']+"
)
MEASURE = re.compile(
    r"\b(?:value|values|number|numbers|amount|percent|percentage|share|rate|price|score|figure|total|sum|average|mean"
    r"|median|ratio|difference|level|quantity|proportion|count|temperature|height|length|size)\b|%"
)
MEASURED = re.compile(  # beside those: what a gold with a unit may be the measure of
    r"\b(?:weight|mass|depth|width|distance|speed|age|area|volume|duration|time|income|salary|salaries|wages?|revenues?"
    r"|profits?|costs?|sales|population|budget|debt|spending|expenditure|consumption|production|output|capacity|growth"
    r"|change|increase|decrease|gap|power|energy|rainfall|precipitation|range|prices?|rates?|scores?|gdp|loss|gain"
    r"|fraction|portion|part|probability|chance|odds|likelihood|frequency|tally|votes|seats|goals|medals|deaths|members|results?"
    r"|turnover|earnings|investments?|exports?|imports?|emissions?|margin|points?|value|worth|how)\b"
)
_VERB = r"\b(?:is|are|was|were|has|have|had|did|does|do|will|would|can|could|shows?|represents?|saw|with|that)\b"
ASKED_FOR = re.compile(
    rf"^(?:(?:in|on|at|during|over|since|until|before|after|around|for|from|under|within) )?(which|what|who|whose)\b"
    rf"([^?.,]*?)(?:{_VERB}|[?.,]|$)"
)
NUMBERED = re.compile(  # things that are called by numbers: "What jersey number ...?", "Which version ...?"
    rf"^(?:(?:in|on|at|for) )?{_WHICH} (?:(?!of\b)\w+ ){{0,2}}?(?:versions?|(?:shoe|dress|clothing|tyre|tire) sizes?"
    r"|(?:jersey|shirt|player|model|room|flight|route|bus|page|gate|track|district|line) numbers?|routes?|highways?"
    r"|flights?|chapters?|channels?|zip codes?|postal codes?|films?|movies?)"
    rf"(?= (?:{_VERB}|\w+ed\b|sells?\b|sold\b|made\b|won\b|ranks?\b)|[?,]|$)"
)
PLACED = re.compile(r" (?:(?!of\b)\w+ ){0,2}?(?:weeks?|days?|hours?|ages?)(?: of (?:the )?\w+)? ?")  # of ASKED_FOR
WRITTEN = re.compile(  # what stands in the chart as text, though it may be digits: "What is the last x-axis label?"
    r"^(?:what|which)(?:'s| is| was| are| were) (?:the )?(?:"
    r"(?:(?!(?:of|in|for|on|at|by|from|to|between|than|and|or)\b)[\w'-]+ ){0,4}?"
    r"(?:labels?|ticks?|dates?|ids?|codes?|(?:jersey|shirt|room|flight|route|bus|page|gate|track|line) numbers?)"
    r"|values? (?:of|on|at|for) the (?:[\w'-]+ ){0,3}?ticks?(?: labels?)?)"
    r"(?= (?:of|in|for|on|at|by|from|to|during|when|that|shown|with|among|where|which)\b|[?,.]|$)"
)
HEAD = re.compile(
    r"^(?:what|which)(?:'s| is| was| are| were) ([^?.,]*?)"
    r"(?:\b(?:of|in|for|on|at|by|from|to|during|when|that|shown|with|among)\b|[?.,]|$)"
)
