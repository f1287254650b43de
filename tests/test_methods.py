"""What holds for every method, and that nothing outside a method's own file decides by its name."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import trainers
from checkpoints.run_folder import run_folder
from evaluation import names, reward_log
from evaluation.names import method_key
from evaluation.reward_log import Counts, complaint
from evaluation.styles import OTHERS, STYLES
from tests import one_layer
from tests.scored import NAN, method_of, scored
from trainers import METHODS
from trainers.method import Method, Paper, Style
from trainers.nsr_trainer import NSRTrainer
from trainers.psr_trainer import PSRTrainer
from trainers.trainer import TRAINERS
from trainers.w_reinforce import WReinforce
from trainers.w_reinforce_trainer import WReinforceTrainer
from training.early_warning import Watch
from training.report import banner, few_generations_warning

ROOT = Path(__file__).parent.parent
VERDICTS = [1, 0, 0, NAN, 0, 0, 0, 0, 1, 1, 1, NAN]  # a mixed prompt, an all-wrong one, an all-right one


def batch_of_three():
    verdicts = torch.tensor(VERDICTS)
    known = {"advantages": (verdicts - 0.4).nan_to_num(0.0), "mean_logp": torch.linspace(-2.0, -0.1, 12)}
    return scored(verdicts, 4, **known)


@pytest.mark.parametrize("mode", METHODS)
def test_one_finite_weight_a_completion_and_none_for_unscorable_ones(mode):
    batch, method = batch_of_three(), method_of(mode)
    weights = method.weights(batch)
    assert weights.shape == (12,) and weights.isfinite().all() and weights.any()
    assert weights[batch.correct.isnan()].tolist() == [0, 0]
    shown = method.printed_rewards(batch, weights)
    assert shown.shape == (12,) and shown.isfinite().all() and not (shown.signbit() & (shown == 0)).any()
    assert torch.equal(batch.correct.nan_to_num(-1.0), torch.tensor(VERDICTS).nan_to_num(-1.0)), "it is left as it was"
    line = method.line(batch)
    assert line is None or (line.startswith(mode.upper()) and "\n" not in line)


def test_methods_differ_in_colour_marker_and_line_from_each_other_and_colour_from_the_spare_styles():
    assert list(STYLES) == ["base", *map(method_key, METHODS)]
    for part in ("color", "marker", "linestyle"):
        assert len({str(style[part]) for style in STYLES.values()}) == len(STYLES), part
    assert not {style["color"] for style in STYLES.values()} & {style["color"] for style in OTHERS}


@pytest.mark.parametrize("mode", METHODS)
def test_every_method_says_its_formula_and_paper_and_has_a_row_in_the_documentation(mode):
    method = METHODS[mode]
    arxiv = method.paper.arxiv if method.paper else ""  # a function of the user's is in none
    assert "=" in method.__doc__ and re.fullmatch(r"\d{4}\.\d{5}" if method.paper else "", arxiv)
    file = Path(inspect.getfile(method)).relative_to(ROOT).as_posix()
    rows = (ROOT / "docs" / "methods.md").read_text().splitlines()
    (row,) = [line for line in rows if line.startswith(f"| [`{mode}`]")]
    assert f"(../{file})" in row and arxiv in row
    for name, option in method.options().items():
        default = option.default if isinstance(option.default, str | None) else f"{option.default:g}"
        assert f"`--{name.replace('_', '-')}`" + (f" {default}" if default else "") in row


@pytest.mark.parametrize("mode", [mode for mode, method in METHODS.items() if method.paper])
def test_the_documentation_says_which_prompts_have_no_weight(mode):
    rows = (ROOT / "docs" / "methods.md").read_text().splitlines()
    (row,) = [line for line in rows if line.startswith(f"| [`{mode}`]")]
    for verdict, said in zip((1.0, 0.0), row.split("|")[3:5], strict=True):
        known = {"advantages": torch.zeros(4), "mean_logp": torch.linspace(-2.0, -0.1, 4)}
        weights = method_of(mode).weights(scored([verdict] * 4, **known))
        assert weights.any() == (said.strip() != "0"), (verdict, said)


@pytest.mark.parametrize("name", trainers.method_options())
def test_methods_that_share_an_option_share_its_default_and_bounds(name):
    shared = [method.options()[name] for method in trainers.method_options()[name]]
    facts = [(type(one.default), one.default, one.metadata) for one in shared]
    assert all(fact == facts[0] for fact in facts)
    told = facts[0][2]
    assert told["help"] and told["shown"] and told["kind"] in (int, float, str)
    assert facts[0][1] in (told["choices"] or [facts[0][1]])


def test_the_guides_names_are_the_trainers_of_the_table(tmp_path):
    assert (PSRTrainer, NSRTrainer, WReinforceTrainer) == tuple(TRAINERS[m] for m in ("psr", "nsr", "w-reinforce"))
    assert PSRTrainer.__name__ == "PSRTrainer" and PSRTrainer.method_class is METHODS["psr"]
    assert one_layer.trainer(WReinforceTrainer, tmp_path).method == WReinforce(lambda_psr=0.1)
    own = one_layer.trainer(WReinforceTrainer, tmp_path, mode_settings={"lambda_psr": 0.3})
    assert own.method == WReinforce(lambda_psr=0.3)
    with pytest.raises(TypeError, match="lambda_psr"):
        one_layer.trainer(PSRTrainer, tmp_path, mode_settings={"lambda_psr": 0.3})


# -- what a method is given ----------------------------------------------------------------------------------------


def test_a_group_sum_counts_the_scorable_rows_of_each_prompt():
    batch = scored([1, 0, NAN, 0, 1, 1], prompt=torch.tensor([0, 1, 1, 0, 1, 0]))
    assert batch.group_sum(batch.correct).tolist() == [2, 1, 1, 2, 1, 2]
    assert batch.group_sum(batch.scorable).tolist() == [3, 2, 2, 3, 2, 3]
    assert batch.group_sum(torch.tensor([1.0, 10.0, 100.0, 2.0, 20.0, 4.0])).tolist() == [7, 30, 30, 7, 30, 7]


class Reading(Method):
    """Keeps what it is given: A = 1."""

    name, label, learns_from = "reading", "Reading", "everything"
    paper = Paper("-", "0000.00000", "A, B")
    style = Style("#000000", "x", "-")
    seen = []  # noqa: RUF012 (of the one test below)

    def weights(self, batch):
        self.seen.append(batch)
        return batch.scorable.to(batch.correct.dtype)


@pytest.mark.parametrize("updates", [1, 2])
def test_the_trainer_gives_a_method_the_scored_batch(updates, tmp_path, monkeypatch):
    monkeypatch.setattr(Reading, "seen", [])
    from trainers.trainer import trainer_of

    said = ["a b .", "b c d .", "h .", "d a .", "b .", "b b .", "a .", "c ."]
    settings = {"generations": 4, "batch": 8 // updates, "steps_per_generation": updates, "max_steps": 2 * updates}
    trainer = one_layer.trainer(trainer_of(Reading), tmp_path, rows=4, **settings)
    trainer.reward_weights[1] = 0.5
    one_layer.fix_rollouts(trainer, said)
    model = one_layer.model()  # the sampling policy of the first rollout batch, with the trainer's weights
    trainer.train()
    first, second = Reading.seen
    assert first.correct.nan_to_num(-1).tolist() == [1, 0, -1, 0, 0, 0, 1, 0] and first.accuracy[2].isnan()
    lengths = torch.tensor([len(one_layer.say(words)) for words in said])
    reward = first.accuracy + 0.5 / lengths
    assert torch.allclose(first.reward, reward, equal_nan=True) and first.reward.isnan().sum() == 1
    mean, deviation = reward[4:].mean(), reward[4:].std()
    assert torch.allclose(first.advantages[4:], (reward[4:] - mean) / (deviation + 1e-4)) and first.advantages[2] == 0
    assert first.prompt.tolist() == [0] * 4 + [1] * 4
    assert (first.step, second.step, first.steps) == (0, updates, 2 * updates)
    if updates == 1:
        assert first.mean_logp is None, "neither the engine nor TRL has computed it"
        return
    assert first.mean_logp.tolist() == pytest.approx(mean_logps(model, map(one_layer.say, said)), abs=1e-5)


def mean_logps(model, completions) -> list[float]:
    """Mean log-probability of the tokens of each completion, by a forward pass of its own."""
    means = []
    for completion in completions:
        ids = torch.tensor([[one_layer.WORDS.index("ask"), *completion]])
        with torch.no_grad():
            logp = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])
        means.append(logp.mean().item())
    return means


def test_the_engine_knows_how_probable_each_completion_was(tmp_path, monkeypatch):
    monkeypatch.setattr(Reading, "seen", [])
    from trainers.trainer import trainer_of

    trainer = one_layer.trainer(trainer_of(Reading), tmp_path, batch=8, max_steps=1)
    drawn, generate = [], trainer._generate_single_turn
    trainer._generate_single_turn = lambda *args: drawn.append(generate(*args)) or drawn[-1]
    trainer.train()
    ((completions, _),) = drawn
    assert len({len(ids) for ids in completions}) > 1, "ragged"
    assert Reading.seen[0].mean_logp.tolist() == pytest.approx(mean_logps(one_layer.model(), completions), abs=1e-5)


# -- nothing else knows a method ------------------------------------------------------------------------------------


def test_a_method_that_no_other_file_knows_is_announced_watched_checked_and_named_by_its_own_words(monkeypatch):
    monkeypatch.setitem(trainers.METHODS, "reading", Reading)
    text = banner(Reading(), 0.5)
    assert text == "✓ READING TRAINING CONFIGURATION:\n  Training mode: reading\n  Reward threshold: 0.5\n"
    monkeypatch.setattr(Reading, "announcement", lambda self: "Reading everything")
    assert banner(Reading(), 0.5).endswith("\n\n✓ READING reward filtering enabled\n  → Reading everything\n")
    assert few_generations_warning("reading", 2) is None
    assert run_folder("root", "tiny", "reading", 1).name == "tiny-prm-large-train-v2-reading-1"
    monkeypatch.setattr(Reading, "needs_wrong", True)
    assert "--num-generations 2 with --mode reading" in few_generations_warning("reading", 2)
    assert complaint("reading", Counts(zero=3)) is None
    monkeypatch.setattr(Reading, "finds", ("negative",))
    assert complaint("reading", Counts(zero=3)) == "Reading should have negative rewards, found none"
    watch = Watch("reading", 1, dict.fromkeys(("entropy", "length", "truncation", "format", "ratio"), 2.0))
    lines = [watch.add({"decomposed/negative": 0, "entropy": entropy}) for entropy in (1.0, 3.0)]
    assert lines[0] == [] and [name for name, _ in lines[1]] == ["entropy"] and Reading.remedies in lines[1][0][1]


def test_a_method_whose_name_ends_in_that_of_another_is_told_from_it(monkeypatch):
    monkeypatch.setitem(trainers.METHODS, "cw-nsr", Reading)
    monkeypatch.setitem(names.METHODS, "cwnsr", "CW-NSR")
    monkeypatch.setattr(reward_log, "MODES", tuple(trainers.METHODS))
    for name in ("poc_cw-nsr.log", "cw_nsr_log.txt"):
        assert reward_log.mode_of(Path(name)) == "cw-nsr"
    assert reward_log.mode_of(Path("poc_nsr.log")) == "nsr"
    with pytest.raises(ValueError, match="does not say one mode"):
        reward_log.mode_of(Path("poc_nsr_psr.log"))
    assert names.methods_named("CW-NSR (ours)") == names.methods_named("cw_nsr") == {"cwnsr"}
    assert names.contradicts("CW-NSR", "nsr") and not names.contradicts("CW NSR", "cw-nsr")


SPELLINGS = {
    spelling
    for name, method in METHODS.items()
    for spelling in (name, name.replace("-", "_"), method_key(name), method.label, name.upper())
}


def decisions(source: str, tables: bool = True) -> list[int]:
    """Lines of a program that compare something with the name of a method, or (`tables`) look it up in a display."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            keys = {key.value if isinstance(key, ast.Constant) else None for key in node.keys}
            if tables and keys & SPELLINGS and keys <= SPELLINGS | {"base"}:
                found.append(node.lineno)
        elif isinstance(node, ast.Compare | ast.MatchValue):
            words = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
            named = {getattr(one, "attr", getattr(one, "id", "")) for one in ast.walk(node)}
            if words & SPELLINGS and "loss_type" not in named:  # TRL calls a way of averaging grpo
                found.append(node.lineno)
    return found


def shell_decisions(source: str) -> list[int]:
    names = "|".join(map(re.escape, SPELLINGS))
    pattern = re.compile(rf"(==|!=|=~)\s*[\"']?({names})\b|^\s*[\"']?({names})[\"']?\)")
    return [number for number, line in enumerate(source.splitlines(), 1) if pattern.search(line)]


def test_no_other_file_decides_by_the_name_of_a_method():
    own = {Path(inspect.getfile(method)) for method in METHODS.values()}
    rooms = [ROOT, *(path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name != "tests")]
    files = [file for room in rooms for pattern in ("*.py", "*.sh") for file in room.glob(pattern) if file not in own]
    assert len(files) > 100
    found = {}
    for file in files:
        source = file.read_text(encoding="utf-8")
        if file.suffix == ".sh":
            lines = shell_decisions(source)
        else:  # the study names the methods that it is about
            lines = decisions(source, tables=file.parent.name != "study")
        if lines:
            found[file.relative_to(ROOT).as_posix()] = lines
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        'if mode == "psr": pass',
        'x = mode not in ("nsr", "w-reinforce")',
        'x = "wreinforce" in found',
        'match mode:\n  case "grpo": pass',
        'lines = {"psr": 1, "nsr": 2}',
    ],
)
def test_a_decision_by_name_is_found(source):
    assert decisions(source)
    assert not decisions('x = self.loss_type == "grpo"; y = ("psr", "nsr"); z = {"psr": 1, "long": 2}')


@pytest.mark.parametrize(
    "line", ["[[ $MODE == grpo ]] && x=1", '[[ $MODE != "w-reinforce" ]]', "    psr) echo ;;", "[ $MODE == nsr ]"]
)
def test_a_decision_by_name_is_found_in_a_shell_script(line):
    assert shell_decisions(line) and not shell_decisions("MODES=(grpo psr)\nPAIR=[$MODE == bogus]")


@pytest.mark.parametrize("program", ["evaluation", "main.py --help"])
def test_the_evaluation_and_the_help_import_no_torch(program):
    modules = [f"evaluation.{file.stem}" for file in sorted((ROOT / "evaluation").glob("*.py"))]
    body = {
        "evaluation": f"import importlib\nfor name in {modules}: importlib.import_module(name)",
        "main.py --help": "import main\nfrom settings.arguments import build_parser\nbuild_parser().format_help()",
    }[program]
    heavy = "print(sorted({'torch', 'trl', 'transformers', 'accelerate', 'peft'} & set(sys.modules)))"
    code = f"import sys\n{body}\n{heavy}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(("mode", "way_out"), [("psr", "a lower --reward-threshold"), ("nsr", "a higher --reward")])
def test_what_helps_where_nothing_is_left_to_learn_from_fits_the_method(mode, way_out):
    """PSR starves of right completions, NSR of wrong ones: what helps the one harms the other."""
    told = METHODS[mode].remedies_without_signal
    assert way_out in told and ("harder questions" in told) == (mode == "nsr")
