"""Attacks have the strength they state, move masks exactly, and can be drawn, written as text and replayed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from drawn_attacks import attacks
from tamperscope.errors import InvalidValueError, UnknownNameError
from tamperscope.media.quantization import ijg_table, nearest_quality
from tamperscope.ops import attack, codecs
from tamperscope.ops.chains import PROFILES
from tamperscope.types import Sample

Rng = np.random.default_rng


def run(text: str, sample: Sample, seed: int = 0) -> Sample:
    return attack.parse(text)(sample, Rng(seed))


@pytest.fixture
def sample(photo: Callable[[str], np.ndarray]) -> Sample:
    """A photograph of 201 x 260 pixels with a rectangle as its mask."""
    rgb = np.ascontiguousarray(photo("coffee")[100:301, 150:410])
    return Sample(rgb, mask=rectangle((201, 260), 40, 60, 120, 150), id="coffee")


def rectangle(size: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def painted(mask: np.ndarray) -> Sample:
    """Return a picture that shows its own mask."""
    return Sample(np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2), mask=mask)


def grey(level: int = 128, side: int = 320) -> Sample:
    return Sample(np.full((side, side, 3), level, np.uint8))


# --- codecs ---


@pytest.mark.parametrize("quality", [1, 50, 75, 90, 100])
@pytest.mark.parametrize(("subsampling", "luma"), [("4:4:4", (1, 1)), ("4:2:2", (2, 1)), ("4:2:0", (2, 2))])
def test_jpeg_carries_the_tables_and_sampling_asked_for(
    sample: Sample, quality: int, subsampling: str, luma: tuple[int, int]
) -> None:
    jpeg = run(f"jpeg:quality={quality},subsampling={subsampling}", sample).jpeg
    assert jpeg is not None
    assert nearest_quality(jpeg.qtables).exact
    np.testing.assert_array_equal(jpeg.qtables[0], ijg_table(quality))
    assert jpeg.sampling == (luma, (1, 1), (1, 1))


def test_jpeg_pixels_and_coefficients_are_those_of_the_file(sample: Sample, encode: Callable[..., bytes]) -> None:
    import io

    done = run("jpeg:quality=80,subsampling=4:4:4", sample)
    data = encode(sample.rgb, "JPEG", quality=80, subsampling="4:4:4")
    np.testing.assert_array_equal(done.rgb, np.asarray(Image.open(io.BytesIO(data))))
    # The first luma block, decoded by hand from the coefficients.
    assert done.jpeg is not None
    basis = np.array(
        [
            [math.sqrt((1 if k else 0.5) / 4) * math.cos((2 * x + 1) * k * math.pi / 16) for x in range(8)]
            for k in range(8)
        ]
    )
    block = basis.T @ (done.jpeg.coefficients[0][0, 0] * done.jpeg.qtables[0].astype(float)) @ basis + 128
    luma = done.rgb[:8, :8] @ [0.299, 0.587, 0.114]
    assert np.abs(block - luma).max() < 2


def steps_by_phase(sample: Sample) -> np.ndarray:
    """Return how large third differences of brightness are, by the column modulo 8 at which they start."""
    luma = sample.rgb @ np.array([0.299, 0.587, 0.114])
    second = np.abs(luma[:, :-3] - 3 * luma[:, 1:-2] + 3 * luma[:, 2:-1] - luma[:, 3:]).mean(axis=0)
    return np.array([second[phase::8].mean() for phase in range(8)])


def test_double_jpeg_shifts_its_first_grid(sample: Sample) -> None:
    shifted = run("double_jpeg:first=20,second=98,dy=2,dx=3", sample)
    assert shifted.size == (199, 257)
    np.testing.assert_array_equal(shifted.mask, sample.mask[2:, 3:])  # type: ignore[index]
    # Block edges of the strong first compression: between columns 7 and 8, now 3 to the left. The difference over
    # columns i to i + 3 has its step between i + 1 and i + 2.
    aligned = run("double_jpeg:first=20,second=98", sample)
    assert (int(steps_by_phase(aligned).argmax()), int(steps_by_phase(shifted).argmax())) == (6, 3)
    assert shifted.jpeg is not None
    np.testing.assert_array_equal(shifted.jpeg.qtables[0], ijg_table(98))


@pytest.mark.parametrize("codec", ["jpeg", "webp", "avif"])
def test_codecs_lose_more_at_lower_quality(sample: Sample, codec: str) -> None:
    errors = [np.mean((run(f"{codec}:quality={q}", sample).rgb - sample.rgb.astype(float)) ** 2) for q in (90, 60, 20)]
    assert 0.2 < errors[0] < errors[1] < errors[2] < 400


def test_webp_is_what_pillow_decodes(sample: Sample, encode: Callable[..., bytes]) -> None:
    import io

    back = np.asarray(Image.open(io.BytesIO(encode(sample.rgb, "WEBP", quality=40))).convert("RGB"))
    done = run("webp:quality=40", sample)
    np.testing.assert_array_equal(done.rgb, back)
    assert done.jpeg is None


def test_missing_avif_codec_says_how_to_mend_it(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs.features, "check", lambda name: False)
    with pytest.raises(InvalidValueError, match="pip install"):
        run("avif", sample)


def test_too_large_for_a_codec_is_a_typed_error() -> None:
    with pytest.raises(InvalidValueError, match="WebP"):
        run("webp", Sample(np.zeros((1, 16384, 3), np.uint8)))
    with pytest.raises(InvalidValueError, match="larger picture"):
        run("double_jpeg:dy=7", Sample(np.zeros((7, 30, 3), np.uint8)))


# --- tones ---


@pytest.mark.parametrize("sigma", [1, 3, 8, 20])
def test_noise_has_the_stated_deviation_in_grey_levels(sigma: float) -> None:
    noisy = run(f"gaussian_noise:sigma={sigma}", grey()).rgb.astype(float) - 128
    count = noisy.size
    expected = math.sqrt(sigma**2 + 1 / 12)
    assert noisy.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * count) + 1e-4)
    assert abs(noisy.mean()) < 4 * expected / math.sqrt(count)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 4 / math.sqrt(count / 3)


def assert_near(found: Sample, expected: np.ndarray) -> None:
    """Rounding alone leaves a mean error of 1/4; OpenCV's weights for bytes are multiples of 1/256."""
    error = np.abs(found.rgb - expected)
    assert error.mean() < 0.3
    assert error.max() < 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
def test_blur_by_sigma_is_scipys(sample: Sample, sigma: float) -> None:
    expected = ndimage.gaussian_filter(sample.rgb.astype(float), (sigma, sigma, 0), mode="mirror", truncate=4)
    assert_near(run(f"gaussian_blur:sigma={sigma}", sample), expected)


@pytest.mark.parametrize("kernel", [3, 7, 11, 23])
def test_blur_by_kernel_takes_sigma_from_it(sample: Sample, kernel: int) -> None:
    sigma, radius = 0.3 * ((kernel - 1) / 2 - 1) + 0.8, kernel // 2
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    if kernel <= 7:  # OpenCV has tables of its own for small kernels.
        weights = np.array({3: [1, 2, 1], 7: [2, 7, 14, 18, 14, 7, 2]}[kernel], float)
    expected = sample.rgb.astype(float)
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, weights / weights.sum(), axis, mode="mirror")
    assert_near(run(f"gaussian_blur:kernel={kernel}", sample), expected)


@pytest.mark.parametrize("gamma", [0.55, 0.7, 0.9])
def test_gamma_is_undone_by_its_inverse(gamma: float) -> None:
    ramp = Sample(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    there = run(f"gamma:gamma={gamma}", ramp)
    back = run(f"gamma:gamma={1 / gamma!r}", there)
    assert np.abs(back.rgb.astype(int) - ramp.rgb).max() <= 1
    assert (there.rgb.astype(int) - ramp.rgb).max() > 8


def test_brightness_and_contrast_by_hand() -> None:
    levels = Sample(np.array([0, 10, 100, 127, 128, 200, 255], np.uint8)[None, :, None].repeat(3, axis=2))
    assert run("brightness:shift=-20", levels).rgb[0, :, 0].tolist() == [0, 0, 80, 107, 108, 180, 235]
    assert run("contrast:gain=2", levels).rgb[0, :, 0].tolist() == [0, 0, 72, 126, 128, 255, 255]
    assert run("contrast:gain=0", levels).rgb[0, :, 0].tolist() == [128] * 7


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_median_is_scipys(sample: Sample, kernel: int) -> None:
    expected = ndimage.median_filter(sample.rgb, (kernel, kernel, 1), mode="nearest")
    np.testing.assert_array_equal(run(f"median:kernel={kernel}", sample).rgb, expected)


def test_sharpening_adds_what_the_blur_takes_away(sample: Sample) -> None:
    values = sample.rgb.astype(float)
    blurred = ndimage.gaussian_filter(values, (1.5, 1.5, 0), mode="mirror", truncate=4)
    expected = np.clip(values + 0.8 * (values - blurred), 0, 255)
    assert np.abs(run("sharpen:amount=0.8,sigma=1.5", sample).rgb - expected).max() <= 1.0


@pytest.mark.parametrize("block", [1, 16])
def test_dropout_loses_the_stated_share_in_whole_blocks(block: int) -> None:
    side = 320 if block == 1 else 1600
    lost = (run(f"dropout:share=0.1,block={block}", grey(side=side)).rgb == 0).all(axis=2)
    cells = lost.reshape(side // block, block, side // block, block)
    assert (cells.all(axis=(1, 3)) == cells.any(axis=(1, 3))).all()
    assert lost.mean() == pytest.approx(0.1, abs=4 * math.sqrt(0.09) / (side / block))


# --- warps: the mask follows ---


@pytest.mark.parametrize("factor", [0.31, 0.5, 1.7, 2.0])
def test_resized_mask_is_the_nearest_pixel(factor: float) -> None:
    mask = rectangle((61, 90), 13, 20, 40, 71)
    done = run(f"resize:factor={factor}", painted(mask))
    height, width = round(61 * factor), round(90 * factor)
    assert done.size == (height, width)
    for y in range(height):
        for x in range(width):
            inside = 13 <= math.floor((y + 0.5) * 61 / height) < 40 and 20 <= math.floor((x + 0.5) * 90 / width) < 71
            assert done.mask[y, x] == inside  # type: ignore[index]


@pytest.mark.parametrize("factor", [0.31, 0.5, 2.0])
def test_nearest_pixels_and_mask_move_alike(factor: float) -> None:
    done = run(f"resize:factor={factor},interpolation=nearest", painted(rectangle((61, 90), 13, 20, 40, 71)))
    np.testing.assert_array_equal(done.rgb[..., 0] == 255, done.mask)


@pytest.mark.parametrize("interpolation", ["nearest", "area", "bilinear", "bicubic", "lanczos"])
def test_resize_and_back_keeps_size_and_mask_but_loses_detail(sample: Sample, interpolation: str) -> None:
    done = run(f"resize_and_back:factor=0.4,interpolation={interpolation}", sample)
    assert done.size == sample.size
    np.testing.assert_array_equal(done.mask, sample.mask)
    error = np.abs(done.rgb.astype(int) - sample.rgb).mean()
    assert 0.5 < error < 15


def test_kernels_differ(sample: Sample) -> None:
    kernels = ("nearest", "area", "bilinear", "bicubic", "lanczos")
    assert len({run(f"resize:interpolation={k}", sample).rgb.tobytes() for k in kernels}) == 5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(keep=st.floats(0.05, 1), down=st.floats(0, 1), right=st.floats(0, 1))
def test_crop_takes_pixels_and_mask_from_one_place(keep: float, down: float, right: float) -> None:
    rows, columns = np.mgrid[:50, :70].astype(np.uint8)
    whole = Sample(np.stack([rows, columns, rows ^ columns], axis=2), mask=rectangle((50, 70), 10, 20, 30, 50))
    part = attack.by_name("crop", keep=keep, down=down, right=right)(whole, Rng(0))
    top, left = int(part.rgb[0, 0, 0]), int(part.rgb[0, 0, 1])
    height, width = part.size
    assert (height, width) == (max(1, round(50 * keep)), max(1, round(70 * keep)))
    np.testing.assert_array_equal(part.rgb, whole.rgb[top : top + height, left : left + width])
    np.testing.assert_array_equal(part.mask, whole.mask[top : top + height, left : left + width])  # type: ignore[index]
    assert part.label == int(part.mask.any())  # type: ignore[union-attr]


def test_crop_places_are_drawn_over_the_whole_picture() -> None:
    rows, columns = np.mgrid[:100, :100].astype(np.uint8)
    whole = Sample(np.stack([rows, columns, rows], axis=2))
    places = np.array([run("crop:keep=0.5", whole, seed).rgb[0, 0, :2] for seed in range(80)])
    assert (places.min(axis=0) < 5).all()
    assert (places.max(axis=0) > 45).all()


def test_label_follows_the_mask_only_where_the_forgery_is_cut_off(sample: Sample) -> None:
    assert run("crop:keep=0.1,down=1,right=1", sample).label == 0
    assert run("crop:keep=0.9", sample).label == 1
    generated = Sample(sample.rgb, label=1)
    assert run("crop:keep=0.1", generated).label == 1
    unmarked = Sample(sample.rgb, mask=np.zeros(sample.size, bool), label=1)
    assert run("crop:keep=0.1", unmarked).label == 1


@pytest.mark.parametrize("axis", ["horizontal", "vertical", "both"])
def test_flipping_twice_changes_nothing(sample: Sample, axis: str) -> None:
    once = run(f"flip:axis={axis}", sample)
    twice = run(f"flip:axis={axis}", once)
    np.testing.assert_array_equal(twice.rgb, sample.rgb)
    np.testing.assert_array_equal(twice.mask, sample.mask)
    assert (once.mask != sample.mask).any()


def test_flips_by_corner() -> None:
    whole = painted(rectangle((5, 7), 0, 0, 1, 2))
    assert np.argwhere(run("flip:axis=horizontal", whole).mask).tolist() == [[0, 5], [0, 6]]
    assert np.argwhere(run("flip:axis=vertical", whole).mask).tolist() == [[4, 0], [4, 1]]
    assert np.argwhere(run("flip:axis=both", whole).mask).tolist() == [[4, 5], [4, 6]]


@pytest.mark.parametrize("angle", [3.0, -17.5, 45.0, 130.0])
def test_rotated_mask_is_the_rotated_rectangle(angle: float) -> None:
    height, width, (top, left, bottom, right) = 81, 120, (20, 30, 60, 75)
    done = run(f"rotate:angle={angle}", painted(rectangle((height, width), top, left, bottom, right)))
    turn, cy, cx = math.radians(angle), (height - 1) / 2, (width - 1) / 2
    for y in range(height):
        for x in range(width):
            # With y pointing up, turning back by the angle.
            offset = complex(x - cx, cy - y) * complex(math.cos(turn), -math.sin(turn))
            old_x, old_y = cx + offset.real, cy - offset.imag
            near = min(abs(old_y - v) for v in (top - 0.5, bottom - 0.5)) < 1e-6
            near = near or min(abs(old_x - v) for v in (left - 0.5, right - 0.5)) < 1e-6
            inside = top - 0.5 < old_y < bottom - 0.5 and left - 0.5 < old_x < right - 0.5
            assert near or done.mask[y, x] == inside, (y, x)  # type: ignore[index]
    assert done.size == (height, width)
    shown = done.rgb[..., 0] > 127
    assert (shown != done.mask).mean() < 0.01


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, 3), (0, 0)])
@pytest.mark.parametrize("border", ["constant", "inner"])
def test_quarter_turns_only_move_pixels(sample: Sample, angle: int, turns: int, border: str) -> None:
    done = run(f"rotate:angle={angle},border={border}", sample)
    np.testing.assert_array_equal(done.rgb, np.rot90(sample.rgb, turns))
    np.testing.assert_array_equal(done.mask, np.rot90(sample.mask, turns))  # type: ignore[arg-type]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(angle=st.floats(-179, 179), height=st.integers(20, 90), width=st.integers(20, 90))
def test_inner_rotation_has_no_empty_corner_and_keeps_the_aspect(angle: float, height: int, width: int) -> None:
    full = painted(np.ones((height, width), bool))
    done = attack.by_name("rotate", angle=angle, border="inner")(full, Rng(0))
    assert done.mask is not None
    assert done.mask.all()
    assert (done.rgb == 255).all()
    if angle % 90:
        assert abs(done.size[0] / height - done.size[1] / width) < 3 / min(height, width)
        # With a constant border a corner pixel is empty when it came from more than half a pixel outside.
        cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        x, y = (width - 1) / 2, (height - 1) / 2
        outside = max(x * cos + y * sin - x, x * sin + y * cos - y) - 0.5
        filled = attack.by_name("rotate", angle=angle)(full, Rng(0)).mask.all()  # type: ignore[union-attr]
        assert abs(outside) < 1e-6 or filled == (outside < 0)


# --- chains ---


@pytest.mark.parametrize("service", list(PROFILES))
def test_social_profiles_limit_the_size_and_leave_their_tables(photo: Any, service: str) -> None:
    profile = PROFILES[service]  # type: ignore[index]
    large = Sample(np.tile(photo("coffee"), (2, 8, 1))[:, : profile.long_side + 160])
    sent = run(f"social:profile={service}", large)
    assert max(sent.size) == profile.long_side
    assert sent.size[0] == round(large.size[0] * profile.long_side / large.size[1])
    assert sent.jpeg is not None
    np.testing.assert_array_equal(sent.jpeg.qtables[0], ijg_table(profile.quality))
    assert profile.source


def test_social_leaves_the_size_of_small_pictures(sample: Sample) -> None:
    sent = run("social:profile=facebook", sample)
    np.testing.assert_array_equal(sent.rgb, run("jpeg:quality=80", sample).rgb)


def test_screenshot_scales_to_the_screen_and_keeps_no_coefficients(sample: Sample) -> None:
    compressed = run("jpeg", sample)
    assert run("screenshot:scale=1.25", compressed).size == (251, 325)
    assert run("screenshot:long_side=130", compressed).size == (100, 130)
    assert run("screenshot", compressed).jpeg is None


# --- settings, text, replay ---


SMALL = Sample(Rng(5).integers(0, 256, (33, 41, 3), dtype=np.uint8), mask=rectangle((33, 41), 5, 6, 20, 30), id="small")


@pytest.mark.parametrize("name", attack.names())
def test_replay_gives_the_same_without_a_generator(name: str) -> None:
    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(op=attacks([name]), seed=st.integers(0, 2**32))
    def check(op: attack.Attack, seed: int) -> None:
        done = op(SMALL, Rng(seed))
        again = attack.replay(SMALL, done.meta["ops"])
        np.testing.assert_array_equal(again.rgb, done.rgb)
        np.testing.assert_array_equal(again.mask, done.mask)
        assert again.meta == done.meta
        assert again.label == done.label
        assert (again.jpeg is None) == (done.jpeg is None)
        assert op(SMALL, Rng(seed)).meta == done.meta
        (entry,) = done.meta["ops"]
        assert entry.keys() == {"op", *attack.parameters(name)}

    check()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ops=st.lists(attacks(attack.names()), max_size=3))
def test_text_form_round_trips(ops: list[attack.Attack]) -> None:
    chain = attack.Chain(tuple(ops))
    assert attack.parse(str(chain)) == chain


def test_chains_record_every_step_and_replay(sample: Sample) -> None:
    done = run("resize:factor=0.5..0.9|gaussian_noise:sigma=2|jpeg:quality=70/80/90", sample, 7)
    assert [entry["op"] for entry in done.meta["ops"]] == ["resize", "gaussian_noise", "jpeg"]
    assert 0.5 <= done.meta["ops"][0]["factor"] <= 0.9
    again = attack.replay(sample, done.meta["ops"])
    np.testing.assert_array_equal(again.rgb, done.rgb)
    assert again.jpeg is not None
    np.testing.assert_array_equal(again.jpeg.coefficients[0], done.jpeg.coefficients[0])  # type: ignore[union-attr]


def test_ranges_are_drawn_to_both_ends() -> None:
    drawn = {attack.by_name("jpeg", quality=(70, 73)).draw(Rng(s))["quality"] for s in range(60)}
    assert drawn == {70, 71, 72, 73}
    odd = {attack.by_name("median", kernel=(3, 9)).draw(Rng(s))["kernel"] for s in range(60)}
    assert odd == {3, 5, 7, 9}
    even_ends = {attack.parse("gaussian_blur:kernel=0..3").steps[0].draw(Rng(s))["kernel"] for s in range(60)}
    assert even_ends == {1, 3}
    floats = [attack.by_name("gamma", gamma=(0.5, 2.0)).draw(Rng(s))["gamma"] for s in range(200)]
    assert 0.5 <= min(floats) < 0.6 < 1.9 < max(floats) <= 2.0  # type: ignore[operator]


def test_other_seeds_draw_other_noise() -> None:
    assert (run("gaussian_noise", grey(), 1).rgb != run("gaussian_noise", grey(), 2).rgb).any()


def test_mask_and_pixels_of_the_input_are_never_touched() -> None:
    rgb, mask = SMALL.rgb.copy(), SMALL.mask.copy()  # type: ignore[union-attr]
    for name in attack.names():
        attack.by_name(name)(SMALL, Rng(0))
    np.testing.assert_array_equal(SMALL.rgb, rgb)
    np.testing.assert_array_equal(SMALL.mask, mask)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("jpeg:quality=101", r"jpeg\.quality: expected a whole number from 1 to 100, found 101"),
        ("jpeg:quality=7.5", "whole number"),
        ("jpeg:quality=", "whole number"),
        ("jpeg:quality=90..80", "low to high"),
        ("jpeg:quality=80/101", "found 101"),
        ("jpeg:subsampling=4:1:1", "4:4:4"),
        ("jpeg:quality", "KEY=VALUE"),
        ("jpeg:quality=80,quality=90", "once"),
        ("gamma:gamma=nan", "0.05 to 20"),
        ("median:kernel=4", "odd"),
        ("jpeg||webp", "NAME"),
        ("|", "NAME"),
    ],
)
def test_bad_text_says_what_was_expected(text: str, complaint: str) -> None:
    with pytest.raises(InvalidValueError, match=complaint):
        attack.parse(text)


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian_blur'"):
        attack.parse("gausian_blur")
    with pytest.raises(UnknownNameError, match="did you mean 'quality'"):
        attack.by_name("jpeg", qualty=3)
    with pytest.raises(UnknownNameError, match="attack 'nothing'"):
        attack.about("nothing")


@pytest.mark.parametrize("value", [True, "80", None, [], (1, 2, 3), math.inf])
def test_bad_settings_of_wrong_types(value: Any) -> None:
    with pytest.raises(InvalidValueError):
        attack.by_name("jpeg", quality=value)


def test_replay_refuses_what_it_cannot_repeat(sample: Sample) -> None:
    with pytest.raises(UnknownNameError, match="splice"):
        attack.replay(sample, [{"op": "splice", "donor": "x"}])
    with pytest.raises(InvalidValueError, match="seed"):
        attack.replay(sample, [{"op": "gaussian_noise", "sigma": 3.0}])
    with pytest.raises(InvalidValueError, match="from 1 to 100"):
        attack.replay(sample, [{"op": "webp", "quality": [50, 60]}])
    assert attack.replay(sample, []) is sample


def test_empty_text_is_no_attack(sample: Sample) -> None:
    assert run(" ", sample) is sample


def test_jpeg_detectors_read_attacked_samples(sample: Sample) -> None:
    from tamperscope import registry

    assert registry.load("dq").predict(sample).status == "not_applicable"
    assert registry.load("dq").predict(run("double_jpeg", sample)).status == "ok"
