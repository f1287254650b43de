"""A YAML file of settings (--config), each value read as its flag would have read it."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from settings.setting import Setting
from settings.table import all_settings


def read_config(path: str) -> dict[str, Any]:
    """Name -> value of the settings in the file. ValueError, one line with the place, for one that cannot be used."""
    import yaml

    if not Path(path).is_file():
        raise ValueError(f"--config {path}: there is no such file; recipes/ holds some to start from")
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _as_written(yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes that are no text, a key twice
        raise ValueError(f"--config {path} is not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(content, dict):
        raise ValueError(f"--config {path} must hold 'setting: value' lines")
    known = {name: setting for name, setting in all_settings().items() if name != "config"}
    aliases = {one.alias[2:].replace("-", "_"): name for name, one in known.items() if one.alias}
    settings = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        name = aliases.get(name, name)
        if name not in known:
            close = " or ".join(get_close_matches(name, known))
            guess = f"did you mean {close}? " if close else ""
            raise ValueError(
                f"--config {path}{_line([key])}: unknown setting '{key}'; {guess}main.py --help lists all of them"
            )
        if name in settings:
            raise ValueError(f"--config {path}: {name} is there twice")
        settings[name] = _typed(known[name], value, path)
    return settings


class _Written(str):
    """A YAML value as it stands in the file, and on which line."""

    line = 0


def _as_written(loader: type) -> type:
    """The YAML loader, with every single value but null as the text that stands there: YAML 1.1 would make 83 of 0123,
    90 of 1:30, False of off and a date of 2026-01-02. ValueError for a key that stands twice: it would take the last.
    """

    class AsWritten(loader):
        def construct_mapping(self, node, deep=False):
            keys = [str(self.construct_object(key, deep=True)) for key, _ in node.value]
            twice = [key for key in keys if keys.count(key) > 1]
            if twice:
                raise ValueError(f"{twice[0]} is there twice")
            return super().construct_mapping(node, deep)

        def written(self, node):
            text = _Written(self.construct_scalar(node))
            text.line = node.start_mark.line + 1
            return text

    for kind in ("str", "int", "float", "bool", "timestamp"):
        AsWritten.add_constructor(f"tag:yaml.org,2002:{kind}", AsWritten.written)
    return AsWritten


_TRUE_FALSE = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _typed(setting: Setting, value: Any, path: str) -> Any:
    """A YAML value as the flag would have read it."""
    switch = _TRUE_FALSE.get(value.lower()) if isinstance(value, str) else None
    if setting.kind is bool and switch is None:
        raise ValueError(f"--config {path}{_line([value])}: {setting.name} must be true or false, got {_shown(value)}")
    if setting.kind is bool or (
        setting.bare and not setting.choices and switch is not None
    ):  # --resume with and without a value
        return switch
    items = value if isinstance(value, list) else [value]
    place = f"--config {path}{_line(items)}: {setting.name}"
    if any(isinstance(item, (list, dict, set, bytes)) for item in items):
        raise ValueError(f"{place} must be {'a list of single values' if setting.several else 'one value'}")
    if value is not None and isinstance(value, list) != setting.several:
        raise ValueError(f"{place} must be {'a list' if setting.several else 'one value'}")
    if value is None or value == []:
        raise ValueError(f"{place} has no value; leave the line out for the default")
    read: Any = _whole if setting.kind is int else setting.kind
    try:
        typed = [read(item) for item in items]
    except (TypeError, ValueError, OverflowError):
        wanted: dict[type | None, str] = {int: "a whole number in digits", float: "a number in digits"}
        raise ValueError(f"{place} must be {wanted.get(setting.kind, 'text')}, got {_shown(value)}") from None
    if setting.choices and typed[0] not in setting.choices:
        raise ValueError(f"{place} must be one of {', '.join(setting.choices)}, got {_shown(value)}")
    return typed if setting.several else typed[0]


def _whole(text: str) -> int:
    """0123 is 123, 1_000 is 1000, 2.0 and 1e4 are whole; 0x1F, 0b1 and 1:30 are refused."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number != int(number):
            raise
        return int(number)


def _line(items: list) -> str:
    return f", line {items[0].line}" if items and isinstance(items[0], _Written) else ""


def _shown(value: Any) -> str:
    text = repr(value if isinstance(value, list) else str(value))
    return text if len(text) <= 100 else f"{text[:100]}..."
