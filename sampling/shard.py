"""What one process of a sampling job does: its share of the problems, its journal, and the file when all is there."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from charts.prompt import of_record
from charts.record import ChartQuestion
from checkpoints.finding import load
from common.signals import StopSignals
from common.terminal import printable
from models.registry import load_processor
from sampling.engine import free_memory
from sampling.extension import Finished, clear_the_way
from sampling.job import ROWS, Sampler, in_groups, run_concurrently, run_job
from sampling.journal import Journal, merge, part_path, read_parts
from sampling.preparation import Prepared, device_and_dtype
from sampling.progress import Progress
from sampling.settings import SamplingSettings


def work_on_all(each: Sequence[Namespace], jobs: Sequence[Prepared], stop: StopSignals) -> None:
    """The work on one data set after another; ValueError before the first where a file is in the way of any."""
    several, pairs = len(jobs) > 1, list(zip(each, jobs, strict=True))
    for args, job in pairs:
        if share(args, job):
            earlier_samples_of(args, job, several)
    for args, job in pairs:
        work(args, job, several, stop)


def share(args: Namespace, job: Prepared) -> list[Sequence[ChartQuestion]]:
    """The groups of problems that are this shard's."""
    index, count = args.shard
    together = args.num_samples if args.backend == "engine" else ROWS  # generate() takes one problem after another
    return in_groups(job.questions, together)[index - 1 :: count]


def earlier_samples_of(args: Namespace, job: Prepared, several: bool) -> dict[str, Any] | None:
    """`clear_the_way`; None for a finished file of several, as the same command goes on with those that are not."""
    try:
        return clear_the_way(args.output_path, job.settings, job.questions, overwrite=args.overwrite)
    except Finished:
        if several:
            return None
        raise


def work(args: Namespace, job: Prepared, several: bool, stop: StopSignals) -> None:
    """Samples what is left of this shard, and writes the file if no other shard has anything left."""
    output, (index, count) = args.output_path, args.shard
    ids, groups = [question.id for question in job.questions], share(args, job)
    mine = [question for group in groups for question in group]
    if not mine:
        print(f"Shard {index}/{count} has nothing to do: the problems are fewer than that", flush=True)
        return
    earlier = earlier_samples_of(args, job, several)  # asked again: other shards may have finished it meanwhile
    if earlier is None:
        say([f"{output} is finished already and left as it is"], index)
        return
    parts = read_parts(output, job.settings)
    if parts:  # an older version has numbered the run otherwise
        job = replace(job, settings=job.settings | {"run": parts[0].settings["run"]})
    if not args.merge:
        finished = {name: line for part in parts for name, line in part.lines.items()}
        left = sum(question.id not in finished for question in mine)
        said = [*job.notes, f"{left} of {len(mine)} problems to sample, {args.num_samples} completions each"]
        if earlier:
            most = max(len(entry["samples"]) for entry in earlier.values())
            said.append(f"{output} has {most} completions of each of {len(earlier)} problems already, which are kept")
        # a job that fails lets it go too
        with closing(Journal(part_path(output, args.shard), job.settings)) as journal:
            say(said, index)
            if left:
                sample(args, job, groups, finished, journal, stop, earlier)
    missing = merge(output, job.settings, ids)
    if missing and args.merge:
        raise ValueError(f"{len(missing)} of {len(ids)} problems are not sampled yet, such as {missing[0]!r}")
    done = f"Shard {index}/{count} is done; the shard that finishes last writes {output}"
    say([done if missing else f"Samples saved to: {output}"])


def sample(
    args: Namespace,
    job: Prepared,
    groups: Sequence[Sequence[ChartQuestion]],
    finished: dict[str, bytes],
    journal: Journal,
    stop: StopSignals,
    earlier: dict[str, Any],
) -> None:
    """Samples the groups with a question that is not `finished` into the journal, by the model or by the server."""
    if job.server is None:
        run_all = partial(run_job, local_sampler(args, job))
    else:
        check_weights(args, job)
        run_all = partial(run_concurrently, job.server, concurrency=args.concurrency)
    kept = [finished[question.id] for group in groups for question in group if question.id in finished]
    progress = Progress(sum(map(len, groups)), kept)
    try:
        folder, run = args.output_path.parent, job.settings["run"]
        run_all(groups, finished, journal, progress, folder, run, stop, earlier)
    except ValueError as error:  # not the user's: keep its traceback
        raise RuntimeError("sampling failed") from error
    finally:
        progress.close()
    print(f"{progress.samples} samples: {progress.summary()}", flush=True)


def local_sampler(args: Namespace, job: Prepared) -> Sampler:
    """Loads the model."""
    model, image, settings = job.settings["model"], job.settings["image"], job.settings["sampling"]
    names = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")
    return Sampler(
        model=load(job.checkpoint, dtype=model["dtype"], device=job.device, merge_adapter=model["merged"]),
        processor=load_processor(job.checkpoint.source, **image),
        settings=SamplingSettings(**{name: settings[name] for name in names}),
        n=args.num_samples,
        prompt=of_record(job.settings["prompt"]),
        chunk=args.chunk,
        backend=args.backend,
        without_image=args.without_image,
        **image,
    )


def check_weights(args: Namespace, job: Prepared) -> None:
    """Compares the server with the weights here, where there are any and --server-check asks for it. ValueError."""
    if job.server is None or args.server_check != "weights" or not job.checkpoint.source:
        return
    from sampling.served import compare_with_weights

    dtypes = (device_and_dtype("auto")[1], job.settings["model"]["dtype"])
    line = compare_with_weights(job.checkpoint, job.device, dtypes, job.server.chat, job.first)
    free_memory()
    say([line])


def say(lines: list[str], index: int = 1) -> None:
    """Prints the lines that all shards share, on the first one."""
    if index == 1:
        print("\n".join(map(printable, lines)), flush=True)
