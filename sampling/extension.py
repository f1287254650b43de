"""More samples, or more problems, into a finished samples file.

Every sample depends on (seed, problem, sample number) alone, so samples 64 to 255 of a problem are the same whether
the first 64 are drawn with them or were drawn before. What is there is kept and graded anew beside the rest, and the
file is replaced when all is done.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charts.record import ChartQuestion
from sampling.journal import Part, differences, folder_lock, part_paths, read_finished, read_part, read_parts

GROWS = ("sampling.num_samples", "data.num_questions", "data.fingerprint")  # what may change in a file that is added to
FOLLOWS = "data.marked_by"  # follows from the rows, and all samples are graded anew; older files do not have it


class Finished(ValueError):
    """The file is finished, and nothing is asked for that it does not hold."""


def clear_the_way(
    output: Path, settings: dict[str, Any], questions: Sequence[ChartQuestion], *, overwrite: bool
) -> dict[str, Any]:
    """What the finished file that is added to says, by problem; {} when there is none.

    ValueError for one that cannot be added to (`Finished` where it has all that is asked for) and for a journal with
    other settings; `overwrite` discards both.
    """
    if overwrite:
        with folder_lock(output.parent):  # another shard may discard it too, and have begun its own under that name
            for path in part_paths(output):
                part = read_part(path)
                if part is not None and differences(part.settings, settings):
                    path.unlink(missing_ok=True)
    parts = read_parts(output, settings)
    there = None if overwrite else read_finished(output)
    if there is None or (parts and not differences(there.settings, settings)):  # cut off after it was written
        return {}
    return earlier_samples(there, settings, questions)


def earlier_samples(part: Part, settings: dict[str, Any], questions: Sequence[ChartQuestion]) -> dict[str, Any]:
    """Problem id -> what the finished file says about it, where it has samples. ValueError when nothing can be added.

    `settings` and `questions` are those of the samples wanted now.
    """
    where = f"--output-path {part.path}"
    changed = [line for line in differences(part.settings, settings) if line.partition(":")[0] != FOLLOWS]
    other = [line for line in changed if line.partition(":")[0] not in GROWS]
    before, now = (record["sampling"]["num_samples"] for record in (part.settings, settings))
    if other:
        raise ValueError(
            f"{where} is finished already, with other settings: {'; '.join(other)}. Name another file, or give "
            "--overwrite, which deletes it"
        )
    if before > now:
        raise ValueError(
            f"{where} holds {before} samples a problem, and --num-samples {now} asks for fewer: it is left as it is; "
            "pass_at_k.py reads any k up to that from it"
        )
    if not changed:
        raise Finished(
            f"{where} is finished already: ask for more (--num-samples, --subset-size) and they are added, name "
            "another file, or give --overwrite, which deletes it"
        )
    if before < now and settings["sampling"]["backend"] == "generate":
        raise ValueError(
            f"{where} holds {before} samples a problem, and --backend generate, whose samples depend on how many are "
            "drawn together, cannot add to them: name another file"
        )
    entries = {name: json.loads(line) for name, line in part.lines.items()}
    wanted = {question.id: question for question in questions}
    lost = [name for name in entries if name not in wanted or not _is_same(entries[name], wanted[name])]
    if lost:
        raise ValueError(
            f"{where} holds {len(lost)} problems that are not asked for now or read differently, such as {lost[0]!r}: "
            "it is left as it is; name another file"
        )
    return {name: entry for name, entry in entries.items() if "samples" in entry}


def _is_same(entry: dict[str, Any], question: ChartQuestion) -> bool:
    """Whether a problem of the same name is the one that was sampled."""
    now = {"question": question.question, "answers": list(question.answers), "image_id": question.image_id}
    return all(entry.get(name, value) == value for name, value in now.items())  # an unreadable one lacks some
