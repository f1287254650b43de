"""The kept shapes of the named models, and --estimate on them where no hub can be asked."""

import re
from dataclasses import replace

import pytest
from PIL import Image

import main
from models.registry import MODELS, load_config, load_processor
from models.shapes import SHAPES, TEXT_ONLY, configuration, stand_in
from tests.test_estimate import folder  # noqa: F401  (a fixture)
from tests.test_memory import work_of
from update.host_memory import PROCESS, host_memory
from update.memory import BUCKETS, count_parameters, memory, shape_of

PARAMETERS = {  # of the weights on the hub
    "qwen2-5-3b": 3_754_622_976, "qwen2-5-7b": 8_292_166_656, "qwen2-2b": 2_208_985_600, "qwen2-7b": 8_291_375_616,
    "qwen3-vl-2b": 2_127_532_032, "qwen3-vl-4b": 4_437_815_808, "qwen3-vl-8b": 8_767_123_696,
    "internvl3-1b": 938_193_024, "internvl3-2b": 2_088_957_440, "internvl3-8b": 7_944_373_760,
    "qwen2-5-math-1-5b": 1_543_714_304, "qwen2-5-math-7b": 7_615_616_512, "qwen3-0-6b": 596_049_920,
    "qwen3-4b": 4_022_468_096, "qwen3-8b": 8_190_735_360, "llama3-1-8b": 8_030_261_248,
}  # fmt: skip


def test_every_named_model_but_the_embedded_ones_has_a_shape():
    assert SHAPES.keys() | TEXT_ONLY.keys() == MODELS.keys() - {"tiny", "organism"} == PARAMETERS.keys()


OFTEN = ("qwen2-5-7b", "qwen3-vl-4b", "internvl3-1b")  # the others with the slow tests


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in PARAMETERS]
)
def test_a_shape_has_as_many_parameters_as_the_weights_on_the_hub(name):
    assert count_parameters(configuration(name)).total == PARAMETERS[name]


@pytest.mark.parametrize(("name", "tokens"), [("qwen2-2b", 256), ("qwen3-vl-2b", 196), ("internvl3-1b", 256)])
def test_an_image_takes_the_tokens_that_it_takes_of_the_model(name, tokens, tmp_path):
    """448 x 448 pixels: patches of 28 pixels, of 32, and one tile."""
    stand_in(name, tmp_path)
    assert load_config(str(tmp_path)).model_type == configuration(name).model_type
    processor = load_processor(str(tmp_path))
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which bar?"}]}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[Image.new("RGB", (448, 448))], return_tensors="pt")
    assert (inputs["input_ids"] == processor.image_token_id).sum() == tokens


def test_full_weights_with_the_optimiser_on_the_host_by_hand():
    """On the GPU two bytes a weight and the gradients on their way; on the host 20 bytes a weight, once."""
    config = configuration("qwen2-5-3b")
    shape, counts = shape_of(config), count_parameters(config)
    work = work_of(rank=0, weight_bytes=2, compute_bytes=2, on_gpu=True, zero=2, offload=True)
    found, total = memory(shape, counts, work), PARAMETERS["qwen2-5-3b"]
    assert (found.weights, found.optimiser) == (2 * total, 0)
    assert found.gradients == 2 * (BUCKETS + 151936 * 2048)
    assert host_memory(counts, work) == PROCESS + 20 * total
    assert host_memory(counts, replace(work, processes=2)) == 2 * PROCESS + 20 * total, "shared out, not doubled"
    assert host_memory(counts, replace(work, offload=False, processes=2)) == 2 * (PROCESS + 2 * total)
    assert host_memory(counts, replace(work, offload=False, base_4bit=True)) == PROCESS


def test_the_estimate_of_a_named_model_needs_no_hub(folder, capsys):  # noqa: F811
    line = "--mode nsr --vlm-name qwen2-5-7b --dataset-name synthetic --subset-size 20 --report-to none --estimate"
    assert main.main(line.split()) == 0
    out = capsys.readouterr().out
    assert "Shape       kept here, as the hub cannot be asked" in out and "8,292,166,656 parameters" in out
    assert re.search(r"16 GB    no: .*--base-4bit \(saves 10\.\d GB\): enough", out)
    assert re.search(r"Host        19\.\d+ GB of the machine's own memory at most", out)
    assert "Hours       not measured: the model's own configuration" in out
    assert not list(folder.iterdir()), "the folder of the shape is gone"


def test_a_model_that_has_no_kept_shape_is_refused_as_before(folder, capsys):  # noqa: F811
    assert main.main(["--mode", "nsr", "--vlm-name", "someone/some-model", "--estimate", "--report-to", "none"]) == 2
    assert "no configuration to be had" in capsys.readouterr().err
