"""What a method is called: in files, tables and pictures, by the sampler and by the user."""

import re
from pathlib import Path

import trainers
from common.terminal import printable


def method_key(name: str) -> str:
    """Letters and digits alone, lower case: W-REINFORCE, w_reinforce and w-reinforce are one method."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


METHODS = {"base": "Base"} | {method_key(name): method.label for name, method in trainers.METHODS.items()}


def methods_named(label: str) -> set[str]:
    """The known methods that `label` mentions: 'NSR (ours)' mentions nsr, 'lambda 0.2' none."""
    for name in trainers.METHODS:
        parts = name.split("-")
        if len(parts) > 1:  # one word, so that no part of it is taken for another method
            label = re.sub("(?i)" + "[^a-z0-9]?".join(parts), "".join(parts), label)
    return {word for word in re.split(r"[^a-z0-9]+", label.casefold()) if word in METHODS}


def contradicts(label: str, method: str) -> bool:
    """Whether `label` names known methods, and `method` is a known one that is not among them."""
    named, stored = methods_named(label), methods_named(method)
    return bool(named and stored and not named & stored)


def display_name(method: str) -> str:
    """The paper's spelling of a known method, any other name as it is."""
    return METHODS.get(method_key(method), method)


def default_method(path: Path, settings: dict) -> str:
    """What the sampler stored, or the file's name without `samples_`; and whether it was asked without the image."""
    name = str(settings.get("method") or path.stem.removeprefix("samples_"))
    return METHODS.get(method_key(name), name) + (" (blind)" if settings.get("without_image") else "")


def checked_labels(labels: list[str] | None, methods: list[str], paths: list[Path]) -> list[str]:
    """One distinct label per curve, none of which names another method than its file does."""
    if labels is not None and len(labels) != len(paths):
        raise ValueError(f"--labels: {len(labels)} labels for {len(paths)} files; give one for each, in their order")
    for label, method, path in zip(labels or [], methods, paths, strict=bool(labels)):
        if contradicts(label, method):
            raise ValueError(f"--labels: {label!r} is given to {path}, which holds {method!r}: put them in one order")
    labels = [printable(label) for label in labels or map(display_name, methods)]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"two curves are called {twice[0]!r}: tell them apart with --labels")
    return labels
