"""An image is processed and hashed once a rollout, however many rows name it; the bits stay what they are."""

import contextlib
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import make_flat_list_of_images

from charts.synthetic import synthetic_questions
from models.families import family_of
from tests.families import FAMILIES, family_processor
from tests.test_families_train import family_trainer, rollout
from update.images_once import images_once, joined


def counted(monkeypatch, processor):
    """How many images each call of the image processor gets."""
    kind, calls = type(processor.image_processor), []
    real = kind.preprocess

    def watched(self, images, **more):
        calls.append(len(flat(images)))
        return real(self, images, **more)

    monkeypatch.setattr(kind, "preprocess", watched)
    return calls


@contextlib.contextmanager
def each_by_itself(processor, device):
    """The same lists without remembering an image."""
    real = processor._process_images

    def process(images, **options):
        found, texts = zip(*(real([image], **options) for image in make_flat_list_of_images(images)), strict=True)
        parts = {name: [torch.as_tensor(np.asarray(one[name])) for one in found] for name in found[0]}
        return joined(parts) if options.get("return_tensors") else parts, [text for one in texts for text in one]

    processor._process_images = process
    yield
    del processor._process_images


def flat(images):
    return [image for row in images for image in row] if isinstance(images[0], list) else images


@pytest.mark.parametrize("family", FAMILIES)
def test_the_processor_returns_the_same_bits_from_fewer_images(family, monkeypatch):
    processor = family_processor(family)
    first, second, third = (question.open_image() for question in synthetic_questions("train", 3))
    third = third.resize((140, 84), Image.Resampling.BICUBIC)
    rows = [[first], [first], [second], [third], [first, third]]
    text = [processor.image_token * len(row) + " what?" for row in rows]
    calls = counted(monkeypatch, processor)
    expected = [processor(images=rows, text=text, padding=True, **more) for more in ({"return_tensors": "pt"}, {})]
    assert calls == [6, 6]
    calls.clear()
    with images_once(processor, torch.device("cpu")):
        found = [processor(images=rows, text=text, padding=True, **more) for more in ({"return_tensors": "pt"}, {})]
        assert all(len(found[1][name]) == 6 for name in family_of(processor).image_fields)
        found[1] = joined(found[1])
        processor(images=[[second.copy()]], text=text[2:3])
    assert calls == [3, 1]
    for one, other in zip(expected, found, strict=True):
        assert set(one) == set(other)
        for name in one:
            if isinstance(one[name], list) and isinstance(one[name][0], torch.Tensor):
                one[name] = torch.stack(one[name])
            same = torch.equal if isinstance(one[name], torch.Tensor) else (lambda a, b: a == b)
            assert same(one[name], other[name]), name
    assert "_process_images" not in vars(processor)


def test_a_rollout_processes_and_hashes_every_distinct_image_once(tmp_path, monkeypatch):
    hashed, real = [], hashlib.sha256
    trainer, processor = family_trainer("qwen2_5_vl", tmp_path, dtype=torch.float32)
    with monkeypatch.context() as without:
        before = counted(without, processor)
        without.setattr("update.rollouts.images_once", each_by_itself)
        expected = rollout(trainer)
    trainer, processor = family_trainer("qwen2_5_vl", tmp_path, dtype=torch.float32)
    calls = counted(monkeypatch, processor)
    monkeypatch.setattr(hashlib, "sha256", lambda content: (hashed.append(len(content) > 10_000), real(content))[1])
    found = rollout(trainer)
    assert sum(before) == 8 and sum(calls) == 2 and sum(hashed) == 2, "two questions, two completions of each"
    for name in ("completion_ids", "pixel_values", "image_grid_thw", "mm_token_type_ids"):
        assert torch.equal(expected[name], found[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_are_put_together_on_the_device_they_are_for(family):
    processor = family_processor(family)
    images = [[question.open_image()] for question in synthetic_questions("train", 2)] * 2
    with images_once(processor, torch.device("meta")):
        there = processor(images=images, text=[processor.image_token] * 4, return_tensors="pt")
        here = joined(processor(images=images, text=[processor.image_token] * 4))
    for name in family_of(processor).image_fields:
        assert there[name].is_meta and there[name].dtype == here[name].dtype
        assert there[name].shape == here[name].shape and not here[name].is_meta


def test_a_family_that_parts_no_images_is_named():
    processor = family_processor(FAMILIES[0])
    image = next(iter(synthetic_questions("train", 1))).open_image()
    with (
        pytest.MonkeyPatch.context() as patch,
        images_once(processor, torch.device("cpu")),
        pytest.raises(ValueError, match="2 images, but its family parts 0"),
    ):
        patch.setattr("update.images_once.family_of", lambda one: SimpleNamespace(apart=lambda fields: []))
        processor(images=[[image], [image.copy()]], text=[processor.image_token] * 2)
