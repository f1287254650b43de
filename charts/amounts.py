"""Whether two quantities are the same amount, given what the question asks for."""

from dataclasses import replace
from decimal import Decimal

from charts.answer_hints import AnswerHints, beside_number
from charts.gold import Gold, is_countable, is_whole
from charts.quantities import UNITS, Quantity, same_currency

_SMALL_UNITS = {"year", "month", "week", "day", "h", "min", "s", "°", "°c", "°f"}  # are not counted in millions
LARGEST_PERCENT = 1_000  # an axis in percent hardly goes further


def same_quantity(said: Quantity, meant: Quantity, asked: AnswerHints, tolerance: Decimal) -> tuple[bool, str]:
    if said.percent and not meant.percent and not (asked.percent and not (meant.currency or meant.unit)):
        return False, "percent against a plain number"
    if said.currency and not _currency_fits(said, meant, asked):
        return False, "another currency"
    if said.unit and not unit_fits(said.unit, meant, asked):
        return False, "another unit, or words beside the number"
    if close(said.value, meant.value, tolerance):
        return True, "within tolerance" if tolerance else "same number"
    if asked.scale:
        step = asked.scale
        if said.value >= 0 <= meant.value or said.value <= 0 >= meant.value:
            short = not meant.scale and close(said.value.scaleb(-step), meant.value, tolerance)
            long = not said.scale and meant.scale and close(said.value.scaleb(step), meant.value, tolerance)
            if short or long:
                return True, "same number in the asked-for magnitude"
    bare = not (said.percent or said.currency or said.unit)
    if meant.percent and bare and close(said.value * 100, meant.value, tolerance):
        return True, "same share as a fraction"
    return False, "another number"


def as_drawn(said: Quantity, gold: Gold) -> Quantity | None:
    """The number as written, without the percent sign or magnitude that a bare gold leaves to the chart's axis.

    "64.9 billion" and "64.9%" are 64.9 where neither gold nor question names a magnitude, percent or another measure;
    None where they do, and for counts, names and years, which have none.
    """
    meant, asked = gold.value[0], gold.asked
    bare = not (meant.percent or meant.scale or meant.currency or meant.unit or meant.fraction)
    if not bare or not (said.percent or said.scale) or gold.kind in ("count", "year", "text") or not asked.silent:
        return None
    if gold.is_name:
        return None
    if said.percent and (said.scale or said.unit in UNITS or asked.measured or abs(meant.value) > LARGEST_PERCENT):
        return None
    if said.scale and not _SMALL_UNITS.isdisjoint(asked.units):
        return None
    if (asked.how_many or asked.number) and is_whole(meant):
        if said.percent and not (asked.masses and is_countable(meant)):
            return None
        if said.scale and is_countable(meant) and not asked.masses:
            return None
    return replace(said, value=said.value.scaleb(-said.scale), scale=0, percent=False)


def close(said: Decimal, meant: Decimal, tolerance: Decimal) -> bool:
    return said == meant if not tolerance or not meant else abs(said - meant) <= tolerance * abs(meant)


def _currency_fits(said: Quantity, meant: Quantity, asked: AnswerHints) -> bool:
    if meant.currency:
        return same_currency(said.currency, meant.currency)
    if meant.percent or (meant.unit and not (meant.unit == "lb" and said.currency == "GBP")):
        return False
    if "how many" in asked.text and not asked.currencies:
        return False
    return not (asked.currencies or asked.units) or any(same_currency(said.currency, one) for one in asked.currencies)


def unit_fits(unit: str, meant: Quantity, asked: AnswerHints) -> bool:
    """Whether `unit` may stand beside a number where `meant` is the gold."""
    known = unit in UNITS
    if unit == "lb" and (meant.currency == "GBP" or (not meant.unit and "GBP" in asked.currencies)):
        return True
    if meant.unit:
        if unit == meant.unit or (unit == "°" and meant.unit in ("°c", "°f")):
            return True
        return not known and (beside_number(unit, asked) or set(unit.split()) <= set(meant.unit.split()))
    if known and (meant.percent or meant.currency):
        return False
    if asked.units and known:
        return unit in asked.units
    if beside_number(unit, asked):
        return True
    return known and not (asked.how_many or asked.number or asked.percent or asked.currencies or asked.price)
