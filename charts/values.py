"""Values of a row as text and numbers that mean what the data set's author wrote."""

import ast
import datetime
import decimal
import math
import warnings
from typing import Any

WHOLE_BELOW = 2**53  # a larger float stands for a range of whole numbers


def plain(value: Any) -> Any:
    """NaN as None, a whole float or decimal as its integer, a date as ISO text; the same inside lists and dicts.

    Tables that were once a data frame hold 2015.0 for 2015 and NaN for an empty cell, in numeric columns that miss a
    value. Everything else, pictures included, is returned as it is.
    """
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() and abs(value) < WHOLE_BELOW else value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else format(value.normalize(), "f")
    if isinstance(value, datetime.datetime) and value.time() != datetime.time():
        return value.isoformat(sep=" ")
    if isinstance(value, datetime.date):
        return value.strftime("%Y-%m-%d")
    return value


def python_literal(text: str) -> Any:
    """The value that a text is in Python's notation, None for any other text; nothing is said of an odd notation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "1or 2" is a SyntaxWarning
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # TypeError: {[1, 2]}
            return None


def accepted(label: Any) -> tuple[str, ...]:
    """Gold answers from a label: a string, a number, a boolean, or a list of accepted ones. `ValueError` for others."""
    labels = label if isinstance(label, list | tuple) else [label]
    texts = (_answer(plain(one)).strip() for one in labels)
    return tuple(text for text in texts if text)


def _answer(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise ValueError(f"the answer {str(value)[:80]} is neither text nor a number")


def first(row: dict, *columns: str) -> Any:
    """The first of these columns that the row has and that is not None."""
    return next((row[column] for column in columns if row.get(column) is not None), None)
