"""What generate_samples.py --backend server refuses: other prompts, weights and adapters, and bad flags."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import generate_samples
from models.families.qwen_vl import QWEN_VL
from sampling.server import check_servable
from tests.test_finding import folder, made  # noqa: F401 (fixtures: a run folder with an adapter)
from tests.test_server_sampling import BASE, by_ids, problems, refusal, run, served, started  # noqa: F401 (fixtures too)


def test_another_prompt_is_refused(served, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(served.processor, "chat_template", served.processor.chat_template.replace("assistant", "model"))
    assert run(tmp_path / "s.json", served) == 2
    assert "reads another prompt, of" in refusal(capsys)
    served.faults["no_ids"] = True
    assert run(tmp_path / "s.json", served) == 2
    assert "where it has" in refusal(capsys), "by the number of its tokens"
    assert list(tmp_path.iterdir()) == []


def test_without_prompt_ids_it_is_said(served, tmp_path, capsys):  # noqa: F811
    served.faults["no_ids"] = True
    assert run(tmp_path / "s.jsonl", served) == 0
    told = capsys.readouterr().out
    assert "prompt ids of the server are not given, only their number is compared" in told
    assert "not compared with the weights here" in told
    assert all(count for line in problems(tmp_path / "s.jsonl") for count in line["tokens"])


def test_other_weights_are_refused_unless_its_word_is_taken(served, tmp_path, capsys):  # noqa: F811
    weight = served.model.get_output_embeddings().weight
    before = weight.data.clone()
    with torch.no_grad():
        weight.mul_(1.05)
    try:
        assert run(tmp_path / "s.jsonl", served) == 2
        assert "it serves other weights or another dtype" in refusal(capsys) and not (tmp_path / "s.jsonl").exists()
        assert by_ids(tmp_path / "s.jsonl", served) == 0
    finally:
        weight.data.copy_(before)


def test_a_base_in_4_bits_here_is_named_among_the_causes(served, tmp_path, capsys):  # noqa: F811
    pytest.importorskip("bitsandbytes", reason="a base in 4 bits needs bitsandbytes")
    assert run(tmp_path / "s.jsonl", served, "--base-4bit") == 2
    assert "another dtype, or its base is not in 4 bits, as the one here is. Start it" in refusal(capsys)


def test_an_adapter_that_is_left_out_is_noticed(served, folder, tmp_path, capsys):  # noqa: F811
    served.faults["ignores_adapters"] = True
    assert by_ids(tmp_path / "s.jsonl", served, checkpoint=folder) == 2
    assert "just as without it" in refusal(capsys)


def test_an_adapter_out_of_its_sight_is_refused(served, folder, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr("sampling.served.adapter_fingerprint", lambda folder: "unseen")
    monkeypatch.setattr(served, "load", lambda body: type(served).load(served, {**body, "lora_path": "/nowhere"}))
    assert by_ids(tmp_path / "s.jsonl", served, checkpoint=folder) == 2
    told = refusal(capsys)
    assert "does not load the adapter" in told and "It must see that folder" in told


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ("base_model.model.model.visual.blocks.0.attn.q_proj.lora_A.weight", "visual"),
        ("base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_magnitude_vector", "magnitude"),
        ("base_model.model.lm_head.weight", "lm_head"),
        ("base_model.model.model.language_model.embed_tokens.lora_A.weight", "embed_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_adapter_of_which_servers_leave_a_part_out_is_refused(folder, change, named):  # noqa: F811
    check_servable(folder, QWEN_VL.vision_modules)
    if isinstance(change, dict):
        file = folder / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    else:
        tensors = load_file(folder / "adapter_model.safetensors")
        save_file({**tensors, change: torch.zeros(2, 2)}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=f"{named}.*servers ignore: merge it"):
        check_servable(folder, QWEN_VL.vision_modules)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--backend", "server"], "--backend server needs --server-url"),
        (["--server-url", "http://127.0.0.1:1"], "is for --backend server alone"),
        (["--concurrency", "4"], "--concurrency 4 is for --backend server alone"),
        (
            ["--backend", "server", "--server-url", "http://h", "--seed", "3"],
            "--seed 3 is not used with --backend",
        ),
        (["--backend", "server", "--server-url", "http://h", "--dtype", "float16"], "--dtype float16 is not used"),
        (["--backend", "server", "--server-url", "http://h", "--concurrency", "0"], "--concurrency must be at least 1"),
        (["--backend", "server", "--server-url", "127.0.0.1:8000"], "give the address of a server"),
        (["--backend", "server", "--server-url", "http://me:secret@host"], "SERVER_API_KEY"),
        (["--backend", "server", "--server-url", "http://[::1"], "--server-url http://[::1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags_get_one_line_and_code_2(tmp_path, capsys, flags, told):
    known = ["--checkpoint-path", "tiny", *BASE, "--output-path", str(tmp_path / "s.json")]
    assert generate_samples.main([*known, *flags]) == 2
    line = refusal(capsys)
    assert told in line and "secret" not in line and not list(tmp_path.iterdir())


def test_a_model_must_be_named(served, tmp_path, capsys):  # noqa: F811
    assert run(tmp_path / "s.json", None, checkpoint=None) == 2
    assert "--checkpoint-path" in refusal(capsys)
    assert run(tmp_path / "s.json", served, checkpoint=None) == 2
    assert "--server-model for a model unknown here" in refusal(capsys)
    assert run(tmp_path / "s.json", served, "--server-model", "x", "--server-check", "ids", checkpoint=None) == 2
    assert "needs --checkpoint-path" in refusal(capsys)
