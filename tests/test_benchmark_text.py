"""The benchmarks of sampling and of the update take a model that reads text alone, and assert the same of it."""

from __future__ import annotations

import pytest
import torch

from benchmarks import sampling, training
from benchmarks.updates import Work
from benchmarks.workloads import model_to_measure
from models.registry import load_model, load_processor


def test_the_decoder_alone_computes_what_it_computes_inside_its_model():
    args = training.parse_args(["--text"])
    with model_to_measure(args), torch.no_grad():
        assert not hasattr(load_processor(args.model), "image_processor")
        ids = torch.arange(20, 60)[None]
        alone, inside = (load_model(name)(input_ids=ids).logits for name in (args.model, "tiny"))
    assert torch.allclose(alone, inside, atol=1e-5) and inside.std() > 0.1


def test_sampling_of_text_alone_is_compared_token_by_token(capsys):
    line = "--text --num-samples 4 --prompt-tokens 80 --max-new-tokens 12 --rungs 2 5"
    assert sampling.main(line.split()) == 0
    said = capsys.readouterr().out
    assert "decoder of tiny, prompt of 8" in said and said.count("4 of 4 equal") == 4
    assert "rung 5 is" in said


def test_the_update_of_text_alone_has_the_gradient_of_stock_trl(capsys):
    args = training.parse_args(["--text", "--longest", "12"])
    with model_to_measure(args):
        training.compare(args, Work(generations=4, kept=0.5, ratio=4, longest=12, batch=4, accumulation=1))
    assert "gradients agree to" in capsys.readouterr().out


def test_random_weights_have_no_decoder_of_their_own():
    with pytest.raises(ValueError, match="leave out --random-weights"):
        training.parse_args(["--text", "--random-weights"])
