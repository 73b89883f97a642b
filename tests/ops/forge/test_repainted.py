"""Repainted regions: the editor sees what it should, and nothing but its answer comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.ops.forge.repainted import Repainted, opened
from tamperscope.types import Sample

torch = pytest.importorskip("torch")

REGION = np.zeros((203, 310), bool)
REGION[60:121, 90:150] = True


class Painter:
    """Paints noise of the generator where the mask is white, and changes the rest by one level, as decoders do."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(
        self,
        *,
        prompt: str,
        image: Image.Image,
        mask_image: Image.Image,
        generator: torch.Generator,
        strength: float,
        num_inference_steps: int,
    ) -> SimpleNamespace:
        self.seen.append({"prompt": prompt, "image": image, "mask": mask_image, "strength": strength})
        rgb, where = np.asarray(image), np.asarray(mask_image) > 127
        noise = torch.randint(0, 256, rgb.shape, generator=generator).numpy()
        out = np.where(where[..., None], noise, rgb.astype(int) ^ 1).astype(np.uint8)
        return SimpleNamespace(images=[Image.fromarray(out)])


@pytest.fixture
def host(photo: Callable[[str], np.ndarray]) -> Sample:
    return Sample(np.ascontiguousarray(photo("coffee")[:203, :310]), id="coffee")


def forge(host: Sample, pipe: Any, seed: int = 0, **values: Any) -> tuple[Sample, dict[str, Any]]:
    forged = Repainted(**{"pipeline": pipe, "region": REGION, "side": 128, **values})(host, np.random.default_rng(seed))
    return forged, forged.meta["ops"][-1]


@pytest.mark.parametrize("blend", ["hard", "feathered"])
def test_pasted_back_changes_nothing_outside(host: Sample, blend: str) -> None:
    forged, entry = forge(host, Painter(), blends=[blend], feathers=[1.0])
    changed = (forged.rgb != host.rgb).any(axis=2)
    reach = np.zeros_like(REGION)
    far = int(blend == "feathered")
    reach[60 - far : 121 + far, 90 - far : 150 + far] = True
    assert not changed[~reach].any()
    assert changed[REGION].mean() > 0.95
    assert entry["reencoded"] is False
    np.testing.assert_array_equal(forged.mask, REGION)


def test_whole_changes_everything_and_keeps_the_mask(host: Sample) -> None:
    forged, entry = forge(host, Painter(), whole=True, side=312)
    assert (forged.rgb != host.rgb).any(axis=2)[~REGION].mean() > 0.8
    np.testing.assert_array_equal(forged.mask, REGION)
    assert entry["reencoded"] is True
    assert entry["blend"] == "hard"


def test_the_editor_sees_the_surroundings_at_its_own_size(host: Sample) -> None:
    pipe = Painter()
    forge(host, pipe, around=0.5, prompt="a cup", strength=(0.4, 0.4))
    seen = pipe.seen[0]
    assert (seen["prompt"], seen["strength"], max(seen["image"].size)) == ("a cup", 0.4, 128)
    assert all(n % 8 == 0 for n in seen["image"].size)
    # Half of the region's longer side, on every side.
    wanted = Image.fromarray(host.rgb[30:151, 60:180]).resize(seen["image"].size)
    assert np.abs(np.asarray(seen["image"]).astype(int) - np.asarray(wanted)).mean() < 4
    share = (np.asarray(seen["mask"]) > 127).mean()
    assert share == pytest.approx(REGION.sum() / (121 * 120), rel=0.1)


def test_an_answer_comes_back_to_its_own_place(host: Sample) -> None:
    def square(**given: Any) -> SimpleNamespace:
        # Like pipelines that always answer at their own size.
        return SimpleNamespace(images=[given["image"].resize((96, 96))])

    forged, _ = forge(host, square, whole=True)
    error = np.abs(forged.rgb.astype(int) - host.rgb).mean()
    assert error < 0.5 * np.abs(np.roll(forged.rgb, 6, 1).astype(int) - host.rgb).mean()
    assert forged.rgb.shape == host.rgb.shape


def test_sizes_are_told_to_pipelines_that_take_them(host: Sample) -> None:
    def sized(*, height: int, width: int, **given: Any) -> SimpleNamespace:
        assert given["image"].size == (width, height)
        return SimpleNamespace(images=[given["image"]])

    forge(host, sized)


def test_one_seed_gives_one_forgery_and_its_record_replays_it(host: Sample) -> None:
    pipe = Painter()
    drawn = {"region": None, "prompt": ["a cup", "a dog", ""], "whole": [True, False], "strength": (0.5, 1.0)}
    (first, entry), (again, same), (other, _) = (forge(host, pipe, seed, **drawn) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert (first.mask != other.mask).any()
    assert json.loads(json.dumps(entry)) == entry == same
    assert first.mask is not None
    np.testing.assert_array_equal(Repainted.replay(host, first.mask, entry, pipe), first.rgb)
    moved = Repainted.replay(host, first.mask, entry | {"seed": entry["seed"] ^ 1}, pipe)
    assert (moved != first.rgb).any(), "the seed reaches the pipeline"
    assert entry["pipeline"] == "Painter"
    assert {forge(host, pipe, seed, **drawn)[1]["prompt"] for seed in range(12)} == {"a cup", "a dog", ""}
    assert {forge(host, pipe, seed, **drawn)[1]["reencoded"] for seed in range(12)} == {True, False}


def test_another_pipeline_is_no_replay(host: Sample) -> None:
    forged, entry = forge(host, Painter())
    assert forged.mask is not None
    with pytest.raises(InvalidValueError, match=r"expected the pipeline .*Painter.*, found"):
        Repainted.replay(host, forged.mask, entry, lambda **given: None)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="record of repainted"):
        Repainted.replay(host, forged.mask, {"op": "splice"}, Painter())


def test_words_say_what_was_asked(host: Sample) -> None:
    assert forge(host, Painter(), prompt="a cup")[1]["words"]["relation"] == 'painted anew as "a cup"'
    assert "painted over" in forge(host, Painter(), noun="a plate")[1]["words"]["relation"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"side": 100}, "a side of whole 8s"),
        ({"steps": 0}, "steps from 1"),
        ({"strength": (0.5, 1.5)}, "repainted.strength"),
        ({"prompt": []}, "repainted.prompt"),
        ({"whole": "yes"}, "repainted.whole"),
        ({"region": np.zeros((3, 3), bool)}, "region: expected bool"),
    ],
)
def test_settings_that_do_not_fit_are_refused(host: Sample, values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        forge(host, Painter(), **values)


def test_what_is_no_pipeline_is_refused(host: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no model_index\.json"):
        forge(host, str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(InputError, match="pip install diffusers"):
        forge(host, tmp_path)
    with pytest.raises(InvalidValueError, match="expected `images` with a picture"):
        forge(host, lambda **given: SimpleNamespace(images=[]))
    with pytest.raises(UnknownNameError, match="blend 'softly'"):
        forge(host, Painter(), blends=["softly"])


def tiny_pipeline(folder: Path) -> None:
    """Save a random pipeline of a few thousand weights, made of configurations alone."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    vocabulary = folder / "words"
    vocabulary.mkdir()
    words = ["<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (vocabulary / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (vocabulary / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(vocabulary / "vocab.json"), str(vocabulary / "merges.txt"), model_max_length=16
    )
    text = transformers.CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=1,
        max_position_embeddings=16, projection_dim=32, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=9, out_channels=4, layers_per_block=1, block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, norm_num_groups=8,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32), latent_channels=4, norm_num_groups=8, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=transformers.CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder, safe_serialization=True)


def test_a_diffusers_pipeline_paints_from_a_folder(host: Sample, tmp_path: Path) -> None:
    tiny_pipeline(tmp_path)
    forged, entry = forge(host, str(tmp_path), prompt="a cup", side=64, steps=2, blends=["hard"])
    assert entry["pipeline"] == "StableDiffusionInpaintPipeline"
    assert len(entry["weights"]) == 64
    changed = (forged.rgb != host.rgb).any(axis=2)
    assert changed[REGION].mean() > 0.9
    assert not changed[~REGION].any()
    assert forged.mask is not None
    np.testing.assert_array_equal(Repainted.replay(host, forged.mask, entry, str(tmp_path)), forged.rgb)
    pipe, _ = opened(str(tmp_path))
    np.testing.assert_array_equal(Repainted.replay(host, forged.mask, entry, pipe), forged.rgb)
    whole, _ = forge(host, str(tmp_path), prompt="a cup", side=64, steps=2, whole=True)
    assert (whole.rgb != host.rgb).any(axis=2).mean() > 0.9
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    opened.__globals__["_loaded"].cache_clear()
    with pytest.raises(InputError, match="expected a pipeline that diffusers can open"):
        opened(str(tmp_path))
