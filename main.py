"""Train: flags -> data, rewards, model, trainer -> train -> save. A door: training/ does the work.

accelerate launch --config_file=deepspeed_zero3.yaml main.py --mode nsr --vlm-name qwen2-5-3b --dataset-name evochart
"""

import sys

from common.commands import say_error
from common.imports import rare_collection
from common.network import ServerError
from common.processes import left_alone
from common.terminal import hide_deprecations, unfailing_output
from settings.arguments import parse_args
from trainers.own_advantage import AdvantageError


def main(argv: list[str] | None = None) -> int:
    """The exit code: 2 for input that cannot be used, 1 for a run that failed, 128 + the signal that ended it, or 0."""
    try:
        return run(argv)
    except KeyboardInterrupt:  # before training, or after it; in between training/interruption.py saves a checkpoint
        say_error("interrupted")
        return 130
    except AdvantageError as error:
        print(file=sys.stderr)  # a progress bar may stand there
        say_error(error)
        return 1
    except ServerError as error:
        print(file=sys.stderr)  # a progress bar may stand there
        say_error(f"{error}; go on with the same command and --resume")
        return 1
    except RuntimeError as error:
        line = left_alone(error)
        if line is None:
            raise
        # every process that is left says so: the first one may be the one that is gone
        print(file=sys.stderr)  # a progress bar may stand there
        say_error(f"{line}; go on with the same command and --resume", every_process=True)
        return 1


def run(argv: list[str] | None) -> int:
    hide_deprecations()
    try:
        args = parse_args(argv)
        if args.estimate:
            from estimate.run import estimate

            estimate(args)
            return 0
        if args.show_data:
            from training.showing import show_data

            show_data(args)
            return 0
        with rare_collection():
            from training.preparing import prepare

            prepared = prepare(args)
    except (ValueError, OSError) as error:
        say_error(error)
        return 2
    with rare_collection():
        from training.run import train
    return train(args, prepared)


if __name__ == "__main__":
    unfailing_output()
    sys.exit(main())
