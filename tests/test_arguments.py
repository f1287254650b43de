"""The command line: defaults, recipes, and one clear line for every value that cannot be used."""

from pathlib import Path

import pytest

from settings.arguments import MODES, build_parser, parse_args, resolve_accumulation
from tests.scored import flags_of

ROOT = Path(__file__).parent.parent


def test_the_documented_defaults():
    args = parse_args(["--mode", "w-reinforce"])
    assert (args.seed, args.reward_threshold, args.lambda_psr, args.num_epochs) == (2025, 0.5, 0.1, 1.0)
    assert (args.batch_size, args.num_generations, args.output_root) == (2, 4, "grpo-start-ckpts")
    assert args.updates_per_rollout == 1 and args.normaliser == "all" and args.averaging == "token"


@pytest.mark.parametrize(
    ("batch", "generations", "processes", "steps"),
    [(2, 2, 1, 2), (2, 4, 1, 2), (2, 4, 2, 2), (2, 8, 1, 4), (2, 8, 2, 2), (4, 2, 1, 2), (3, 4, 1, 4), (1, 16, 1, 16)],
)
def test_accumulation_is_the_smallest_of_at_least_two_in_which_whole_groups_fit(batch, generations, processes, steps):
    args = parse_args(["--mode", "nsr", "--batch-size", str(batch), "--num-generations", str(generations)])
    assert resolve_accumulation(args, processes) == steps


def test_a_clashing_accumulation_names_the_nearest_that_fit():
    args = parse_args(["--mode", "nsr", "--num-generations", "8", "--gradient-accumulation-steps", "6"])
    with pytest.raises(ValueError, match=r"steps 6: .*nearest that fit: 4 and 8$"):
        resolve_accumulation(args, 1)


BAD = [
    ("", "--mode is missing"),
    ("--mode best", "invalid choice: 'best'"),
    ("--mode nsr --lamda-psr 0.1", "unrecognized arguments: --lamda-psr: did you mean --lambda-psr?"),
    ("--lr=2 --mode nsr --qqq", "unrecognized arguments: --lr --qqq (see --help)"),
    ("--mode nsr --lambda-psr 0.1", "--lambda-psr is not used by --mode nsr"),
    ("--mode w-reinforce --lambda-psr -0.1", "--lambda-psr -0.1: must be at least 0"),
    ("--mode grpo --reward-threshold 0.5", "--reward-threshold is not used by --mode grpo"),
    ("--mode grpo --normaliser kept", "--normaliser is not used by --mode grpo"),
    ("--mode psr --reward-threshold 1.1", "at least 0 and at most 1.0"),
    ("--mode psr --reward-threshold -0.1", "at least 0 and at most 1.0"),
    ("--mode psr --reward-threshold nan", "at least 0 and at most 1.0"),
    ("--mode psr --learning-rate inf", "--learning-rate inf"),
    ("--mode psr --learning-rate 0", "above 0"),
    ("--mode psr --num-generations 1", "--num-generations 1: must be at least 2"),
    ("--mode psr --batch-size 0", "--batch-size 0: must be at least 1"),
    ("--mode psr --batch-size two", "invalid int value: 'two'"),
    ("--mode psr --subset-size -5", "--subset-size -5: must be at least 1"),
    ("--mode psr --num-epochs 0", "--num-epochs 0.0: must be above 0"),
    ("--mode psr --temperature 0", "--temperature 0.0: must be at least 1e-06"),
    ("--mode psr --temperature 1e-39", "--temperature 1e-39: must be at least 1e-06"),
    ("--mode psr --seed 2147483648", "--seed 2147483648: must be at least 0 and at most 2147483647"),
    ("--mode psr --min-pixels 9000 --max-pixels 8000", "--min-pixels 9000 is more than --max-pixels 8000"),
    ("--mode psr --no-lora --lora-rank 4", "--lora-rank is not used with --no-lora"),
    ("--mode psr --resume --overwrite", "--resume continues"),
    ("--mode psr --report-to none --wandb-online", "--wandb-online needs --report-to wandb"),
    ("--mode psr --config nowhere.yaml", "no such file"),
    ("--mode psr --save-total-limit 0", "--save-total-limit 0"),
    ("--mode psr --learning-rate inf", "--learning-rate inf: must be finite and above 0"),
    ("--mode cw-nsr --weight-least 0 --weight-most 0", "--weight-most 0.0: must be above 0"),
    (
        "--mode w-reinforce --lambda-psr 0 --negative-weight cosine --negative-weight-start 0 --negative-weight-end 0",
        "no completion would have weight",
    ),
    ("--mode psr --negative-ratio-cap 1", "--negative-ratio-cap is not used by --mode psr"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_input_is_one_clear_line(line, message):
    with pytest.raises(ValueError) as error:
        parse_args(line.split())
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("num-generations: 8\nlearning_rate: 1e-4\nno_lora: true\nlambda_psr: 1\n")
    args = parse_args(["--mode", "w-reinforce", "--config", str(recipe), "--num-generations", "16"])
    assert (args.num_generations, args.learning_rate, args.no_lora, args.lambda_psr) == (16, 1e-4, True, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lamda_psr: 1", "unknown setting 'lamda_psr'"),
        ("batch_size: many", "batch_size must be a whole number"),
        ("batch_size: 2.5", "batch_size must be a whole number"),
        ("no_lora: 1", "no_lora must be true or false"),
        ("batch_size: [2]", "batch_size must be one value"),
        ("averaging: row", "averaging must be one of token, sequence"),
        ("batch_size: 0", "--batch-size 0: must be at least 1"),
        ("lambda_psr: 0.2", "--lambda-psr is not used by --mode nsr"),
        ("batch_size: 1\nbatch_size: 2", "batch_size is there twice"),
        ("averaging: no", "averaging must be one of token, sequence, got 'no'"),
        ("- 1", "must hold 'setting: value' lines"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_bad_recipe_is_one_clear_line(text, message, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError) as error:
        parse_args(["--mode", "nsr", "--config", str(recipe)])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
@pytest.mark.parametrize("mode", MODES)
def test_every_shipped_recipe_loads_in_every_mode_and_holds_whole_groups(recipe, mode):
    args = parse_args([*flags_of(mode), "--config", str(recipe)])
    for processes in (1, 2, 8):
        resolve_accumulation(args, processes)


def test_every_flag_explains_itself():
    for action in build_parser()._actions:
        assert action.help and len(action.help) > 8, action.dest


def test_resume_takes_a_checkpoint_or_stands_alone(tmp_path):
    assert parse_args(["--mode", "nsr"]).resume is None
    assert parse_args(["--resume", "--mode", "nsr"]).resume is True
    assert parse_args(["--mode", "nsr", "--resume", "runs/checkpoint-5"]).resume == "runs/checkpoint-5"
    for text, expected in (("true", True), ("false", False), ("runs/checkpoint-5", "runs/checkpoint-5")):
        (tmp_path / "run.yaml").write_text(f"mode: nsr\nresume: {text}\n")
        assert parse_args(["--config", str(tmp_path / "run.yaml")]).resume == expected
    with pytest.raises(ValueError, match="--resume got an empty name"):
        parse_args(["--mode", "nsr", "--resume", ""])


def test_a_value_with_a_space_is_no_flag_and_help_is_given_beside_a_mistyped_one(capsys):
    assert str(parse_args(["--mode", "nsr", "--output-root", "--x=3 or 4"]).output_root) == "--x=3 or 4"
    with pytest.raises(SystemExit) as end:
        parse_args(["--mode", "nsr", "--lamda-psr", "0.1", "--help"])
    assert end.value.code == 0 and "--lambda-psr" in capsys.readouterr().out
