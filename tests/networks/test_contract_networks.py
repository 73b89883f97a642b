"""What every trainable system keeps: shapes, no look at the truth, no word between pictures, gradients, files."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load, save  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.geometry import PIECE, PIECES  # noqa: E402
from tamperscope.networks import catalog  # noqa: E402
from tamperscope.networks.base import Network, parameters  # noqa: E402

NAMES = catalog.names()
SIZES = ((64, 64), (96, 160), (160, 96))
STEPS = 6
every = pytest.mark.parametrize("name", NAMES)


def batch(net: Network, size: tuple[int, int] = (64, 64), forged: str = "part", count: int = 3) -> dict[str, Any]:
    """Smooth pictures with noise; the forged part has more of it. Of the last picture the right fourth is padding."""
    generator = torch.Generator().manual_seed(1)
    height, width = (-(-n // net.multiple) * net.multiple for n in size)
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") * 0.8 + 0.1
    mask = torch.zeros(count, 1, height, width)
    if forged == "part":
        mask[: count - 1, :, height // 4 : height // 2, width // 4 : width // 2] = 1
    elif forged == "all":
        mask[:] = 1
    image = (image + (0.01 + 0.09 * mask) * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    valid = torch.ones(mask.shape, dtype=torch.bool)
    valid[-1, ..., 3 * width // 4 :] = False
    mask = mask * valid
    label = mask.amax((1, 2, 3)).long()
    more = {
        "qtables": torch.randint(1, 40, (count, 2, 8, 8), generator=generator).float(),
        "mosaic": torch.rand(count, 3, PIECES * PIECE, PIECES * PIECE, generator=generator),
        "sequence": label[:, None] * torch.tensor([3, 1, 5, 0, 0]),
    }
    return {"image": image, "mask": mask, "valid": valid, "label": label, "classes": mask[:, 0].long(), **more}


def told(net: Network, given: dict[str, Any]) -> dict[str, Any]:
    """What `forward` may know beside the picture."""
    return {name: given[name] for name in net.needs}


def answer(net: Network, given: dict[str, Any]) -> dict[str, Any]:
    with torch.inference_mode():
        return net(given["image"], **told(net, given))


def main(outputs: dict[str, Any]) -> Any:
    """The map, or the score of what judges whole pictures."""
    return outputs["mask" if "mask" in outputs else "score"]


def total(net: Network, given: dict[str, Any], progress: float = 1.0) -> Any:
    terms = net.loss(net(given["image"], **told(net, given)), given, progress)
    assert terms
    assert all(term.ndim == 0 for term in terms.values())
    return sum(terms.values())


@cache
def trained(name: str) -> tuple[Network, list[float], dict[str, float]]:
    """A tiny system after a few steps on one batch, its losses, and the largest gradient of each parameter."""
    torch.manual_seed(0)
    net = catalog.build(name).train()
    given = batch(net)
    learned = {n: p for n, p in net.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), 1e-3)
    history, largest = [], dict.fromkeys(learned, -1.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = total(net, given)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
        for n, p in learned.items():
            if p.grad is not None:
                largest[n] = max(largest[n], float(p.grad.abs().max()))
    return net, history, largest


def fresh(name: str, **settings: Any) -> Network:
    torch.manual_seed(7)
    return catalog.build(name, **settings)


def test_there_are_systems_and_what_there_is_not_is_refused() -> None:
    assert NAMES
    with pytest.raises(UnknownNameError, match="unknown network"):
        catalog.build("nothing")
    with pytest.raises(UnknownNameError, match="unknown size"):
        catalog.build(NAMES[0], "huge")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown setting of network 'npr' 'widht': did you mean 'width'"):
        catalog.build("npr", widht=8)
    with pytest.raises(UnknownNameError, match=r"known: .*backbone.*weights"):
        catalog.build("swin", foo=1)
    with pytest.raises(InvalidValueError, match="network 'wscl': expected settings of its own"):
        catalog.build("wscl", channels=8)
    with pytest.raises(InvalidValueError, match="network 'xception'"):
        catalog.build("xception", middle="many")


@every
def test_it_says_what_it_is_where_from_and_what_differs(name: str) -> None:
    about = catalog.about(name)
    assert about.title
    assert len(about.source) > 20
    assert about.parameters is None or about.parameters > 1e5
    assert isinstance(about.departures, tuple)
    assert all(len(text) > 20 and text.rstrip().endswith(".") for text in about.departures)
    net = trained(name)[0]
    assert (type(net).__doc__ or "").strip()
    assert net.supervision in ("mask", "label")


@every
def test_the_tiny_one_is_tiny(name: str) -> None:
    assert 0 < parameters(trained(name)[0]) <= 1.5e6


@every
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_outputs_have_the_shapes_of_the_contract(name: str, size: tuple[int, int]) -> None:
    net = trained(name)[0].eval()
    assert not {"mask", "label", "classes"} & set(net.needs), "the truth is no input"
    given = batch(net, size)
    outputs = answer(net, given)
    count, _, height, width = given["image"].shape
    assert outputs.keys() & {"mask", "score"}
    assert "mask" in outputs or net.supervision == "label"
    if "mask" in outputs:
        assert outputs["mask"].shape == (count, 1, height, width)
    if "score" in outputs:
        assert outputs["score"].shape == (count,)
    if "confidence" in outputs:
        assert outputs["confidence"].shape == (count, 1, height, width)
    if "classes" in outputs:
        assert outputs["classes"].shape[::2] == (count, height)
        assert outputs["classes"].shape[3] == width
    assert all(torch.isfinite(x).all() for x in outputs.values())
    assert float(main(outputs).std()) > 0, "it looks at the picture"


@every
def test_a_clip_is_taken_where_forward_says_so(name: str) -> None:
    net = trained(name)[0].eval()
    if "(B, T, 3, H, W)" not in (type(net).forward.__doc__ or ""):
        pytest.skip("pictures alone")
    given = batch(net, count=4)
    clip = {key: given[key].unflatten(0, (2, 2)) for key in ("image", "valid", "mask")}
    outputs = answer(net, clip)
    assert outputs["mask"].shape == (2, 2, *given["mask"].shape[1:])
    single = answer(net, {key: value[1:] for key, value in clip.items()})
    torch.testing.assert_close(outputs["mask"][1:], single["mask"], atol=1e-4, rtol=1e-3)
    assert torch.isfinite(total(net.train(), clip))


@every
def test_pictures_of_a_batch_do_not_know_of_each_other(name: str) -> None:
    net = trained(name)[0].eval()
    given = batch(net, (64, 96))
    together = answer(net, given)
    answer(net, batch(net, (160, 96)))
    for place in range(3):
        alone = answer(net, {key: value[place : place + 1] for key, value in given.items()})
        for key in together.keys() & {"mask", "score", "confidence", "classes"}:
            message = f"{key} of picture {place}"
            torch.testing.assert_close(
                together[key][place : place + 1], alone[key], atol=1e-4, rtol=1e-3, msg=lambda m, k=message: f"{k}: {m}"
            )


@every
def test_the_truth_of_what_is_not_the_picture_teaches_nothing(name: str) -> None:
    net = trained(name)[0].eval()
    given = batch(net)
    outputs = answer(net, given)
    turned = torch.where(given["valid"], given["mask"], 1 - given["mask"])
    other = given | {"mask": turned, "classes": turned[:, 0].long()}
    for key, value in net.loss(outputs, given, 1.0).items():
        torch.testing.assert_close(value, net.loss(outputs, other, 1.0)[key], msg=lambda m, k=key: f"{k}: {m}")


@every
def test_what_learns_from_labels_never_sees_a_mask(name: str) -> None:
    net = trained(name)[0].eval()
    given = batch(net)
    if net.supervision == "mask":
        other = given | {"mask": 1 - given["mask"], "classes": 1 - given["classes"]}
        outputs = answer(net, given)
        losses = [float(sum(net.loss(outputs, b, 1.0).values())) for b in (given, other)]
        assert losses[0] != losses[1], "the truth teaches"
        return
    blind = {key: value for key, value in given.items() if key not in ("mask", "classes")}
    outputs = answer(net, given)
    for key, value in net.loss(outputs, given, 1.0).items():
        assert torch.equal(value, net.loss(outputs, blind, 1.0)[key])


@every
def test_gradient_reaches_every_parameter_that_learns(name: str) -> None:
    _, _, largest = trained(name)
    assert not [n for n, value in largest.items() if value < 0], "without a gradient"
    # What begins at 0 lets gradient pass after the first steps.
    assert not [n for n, value in largest.items() if not 0 < value < float("inf")], (
        "with a gradient of 0, or none finite"
    )


@every
def test_a_few_steps_on_one_batch_lower_its_loss(name: str) -> None:
    history = trained(name)[1]
    assert sum(history[-2:]) / 2 < history[0]


@every
def test_weights_pass_through_a_file(name: str) -> None:
    net, other = trained(name)[0].eval(), fresh(name).eval()
    given = batch(net)
    expected = answer(net, given)
    assert not torch.equal(main(answer(other, given)), main(expected))
    other.load_state_dict(load(save({key: value.contiguous() for key, value in net.state_dict().items()})))
    found = answer(other, given)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@every
@pytest.mark.parametrize("forged", ["none", "all"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_loss_and_gradients_are_finite_without_a_forged_or_a_pristine_pixel(name: str, forged: str, kind: str) -> None:
    net = fresh(name).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
        for progress in (0.0, 1.0):
            loss = total(net, batch(net, forged=forged), progress)
            assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


FULL = {
    "aide": 353_710_850,
    "bas": 51_831_874,
    "braid": 573_765,
    "caftb": 111_615_017,
    "cat_net": 114_263_025,
    "convnext": 54_546_466,
    "diffseg": 27_353_545,
    "dtd": 66_924_210,
    "efficientnet": 17_550_409,
    "fakelocator": 33_139_913,
    "ffdn": 100_415_868,
    "freqnet": 1_850_433,
    "hida_net": 330_267_780,
    "iml_vit": 91_776_961,
    "mantra_net": 3_804_954,
    "meso": 27_977,
    "mesorch": 84_986_448,
    "mfpt": 89_454_465,
    "mmfusion": 68_400_714,
    "mvss_net": 142_799_139,
    "ncl_iml": 59_486_945,
    "npr": 1_437_761,
    "object_former": 82_194_818,
    "patchcraft": 118_817,
    "peekaboo": 21_669_505,
    "pscc_net": 4_324_818,
    "relayformer": 92_495_873,
    "segformer": 47_223_618,
    "seqfakeformer": 27_076_448,
    "span": 3_936_978,
    "sparse_vit": 49_944_513,
    "swin": 91_958_330,
    "tifdm": 24_496_673,
    "trufor": 68_186_733,
    "tsom": 37_607_471,
    "unet": 31_038_018,
    "univfd": 303_966_977,
    "webiml": 100_099_908,
    "wscl": 117_720_996,
    "xception": 20_809_001,
}
"""Numbers of each network in full. Of few a count is published; who changes a layer of the others changes it here."""


@every
def test_the_full_one_has_its_and_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        net = catalog.build(name, "full")
    assert parameters(net) == FULL[name]
    published = catalog.about(name).parameters
    if published is not None:
        assert parameters(net) == pytest.approx(published, rel=0.03)
    assert parameters(net) > parameters(trained(name)[0])


@pytest.mark.slow
@every
def test_the_full_one_answers(name: str) -> None:
    with torch.device("meta"):
        count = parameters(catalog.build(name, "full"))
    if count > 100e6:
        pytest.skip(f"{count / 1e6:.0f} M parameters")
    net = fresh(name, size="full").eval()
    given = batch(net, (64, 96), count=1)
    outputs = answer(net, given)
    if "mask" in outputs:
        assert outputs["mask"].shape == given["mask"].shape
    assert torch.isfinite(main(outputs)).all()
