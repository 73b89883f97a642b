"""TSOM: textures of differences, a shape's Gaussians, three memories, and the order turned around."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ordered_scenes import accuracies, trained, varied  # noqa: E402
from torch import distributions  # noqa: E402
from torch.nn import functional  # noqa: E402

from tamperscope.engine import recipe as recipes  # noqa: E402
from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import tsom  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.tsom import DifferenceAttention, Shape, Tsom, density  # noqa: E402
from tamperscope.nn import sequences  # noqa: E402

TRUTH = torch.tensor([[2, 5, 1, 0, 0], [0, 0, 0, 0, 0], [2, 3, 0, 0, 0], [5, 4, 3, 2, 1]])


def tiny(seed: int = 1, **settings: object) -> Tsom:
    """A network whose words differ from picture to picture."""
    torch.manual_seed(seed)
    return varied(tsom.build("tiny", **settings), batch()["image"])


def batch(seed: int = 0, size: tuple[int, int] = (64, 64)) -> dict[str, torch.Tensor]:
    """Four pictures; of the last one the right quarter is filled up."""
    valid = torch.ones(4, 1, *size, dtype=torch.bool)
    valid[-1, ..., 3 * size[1] // 4 :] = False
    coarse = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return {"image": functional.interpolate(coarse, size), "valid": valid, "sequence": TRUTH}


def answer(net: Tsom, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return net(given["image"], valid=given["valid"])


def remembered(net: Tsom, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return net.remembered(net.normalized(given["image"]) * given["valid"], given["valid"])


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = tsom.build("full")
    assert parameters(full.backbone) == pytest.approx(23.508e6, rel=1e-4)
    assert len(full.plain) == len(full.texture) == len(full.decoder.layers) == 2
    factor = full.texture[0].attention.factor
    assert [m.out_channels for m in factor if hasattr(m, "out_channels")] == [128, 64, 32, 3]
    assert [m.out_features for m in full.fused if hasattr(m, "out_features")] == [512, 256]
    assert full.fused[0].in_features == 512
    assert [block[0].out_channels for block in full.shape.down] == [32, 64, 128, 256, 256]
    assert (full.shape.mean.in_features, full.shape.mean.out_features, full.shape.spread.out_features) == (
        16384,
        12,
        12,
    )
    assert {layer.drop.p for layer in (*full.plain, *full.texture)} == {0.2}
    assert {layer.drop.p for layer in full.decoder.layers} == {0.4}
    assert [len(layer.attentions) for layer in full.decoder.layers] == [3, 3]
    assert (full.alpha, full.weigh, full.inverted, full.contrast) == (0.005, (0.1, 0.01), True, 0.0)
    assert parameters(full) == pytest.approx(37.61e6, rel=1e-3)
    assert parameters(tsom.build("tiny")) == pytest.approx(1.23e6, rel=0.01)


def test_pictures_go_with_their_own_answers() -> None:
    """Where maps are shaped of tokens of several pictures, another order of the batch gives other answers."""
    net, given, order = tiny(), batch(), torch.tensor([2, 0, 3, 1])
    other = {key: value[order] for key, value in given.items()}
    for found, turned in ((remembered(net, given), remembered(net, other)), (answer(net, given), answer(net, other))):
        for key, value in found.items():
            torch.testing.assert_close(turned[key], value[order], atol=1e-4, rtol=1e-3)
    assert answer(net, given)["score"].std() > 0.01
    alone = answer(net, {key: value[1:2] for key, value in given.items()})
    torch.testing.assert_close(alone["score"], answer(net, given)["score"][1:2], atol=1e-4, rtol=1e-3)


def test_maps_have_tokens_in_their_places() -> None:
    """A change in one corner of a picture reaches its own token of textures first, and no other picture."""
    net, given = tiny(), batch()
    layer, generator = net.texture[0].attention, torch.Generator().manual_seed(2)
    plane = torch.randn(4, 96, 8, 8, generator=generator)
    changed = plane.clone()
    changed[2, :, 1, 6] += 3
    with torch.no_grad():
        differ = [(kind(changed) - kind(plane)).abs().amax(1) > 1e-4 for kind in layer.kinds]
    for kind, reach in zip(differ, (1, 1, 2), strict=True):
        rows, columns = kind[2].nonzero().T
        assert not kind[[0, 1, 3]].any()
        assert kind.any()
        assert int((rows - 1).abs().max()) <= reach
        assert int((columns - 6).abs().max()) <= reach
    assert remembered(net, given)["tokens"].shape == (4, 3, 64, 96)


def test_keys_and_values_of_textures_see_no_brightness() -> None:
    torch.manual_seed(0)
    net = DifferenceAttention(16, 4).eval()
    plane, bias = torch.randn(2, 16, 5, 6), torch.zeros(2, 1, 1, 30)
    net.query.weight.data.zero_()
    torch.nn.init.zeros_(net.share.weight)
    with torch.no_grad():
        found = net(plane, bias)
        torch.testing.assert_close(net(plane + torch.randn(16, 1, 1), bias), found, atol=1e-5, rtol=1e-4)
        flat = torch.randn(2, 16, 1, 1).expand(2, 16, 5, 6)
        torch.testing.assert_close(net(flat, bias), net.proj.bias.expand(2, 30, 16), atol=1e-5, rtol=1e-4)
    assert found.std() > 0.01


def test_a_picture_weighs_the_kinds_of_its_differences() -> None:
    torch.manual_seed(0)
    net, plane = DifferenceAttention(16, 4).eval(), torch.randn(3, 16, 8, 8)
    torch.nn.init.normal_(net.share.weight, 0, 3)
    with torch.no_grad():
        shares = net.shares(plane)
        torch.testing.assert_close(shares.sum(1), torch.ones(3))
        assert (shares.amax(0) - shares.amin(0)).max() > 0.05
        torch.testing.assert_close(net.shares(plane[1:2]), shares[1:2])
        bias = torch.zeros(3, 1, 1, 64)
        torch.testing.assert_close(net(plane[1:2], bias[1:2]), net(plane, bias)[1:2], atol=1e-5, rtol=1e-4)
        # With all the weight on one kind, that one alone is key and value.
        torch.nn.init.zeros_(net.share.weight)
        net.share.bias.data = torch.tensor([-50.0, 50.0, -50.0])
        found = net(plane, bias)
        query, seen = (x.flatten(2).transpose(1, 2) for x in (net.query(plane), net.kinds[1](plane)))
        torch.testing.assert_close(found, net.proj(sequences.attended(query, seen, seen, 4)))


def test_the_prior_is_the_shapes_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, spread = (torch.randn(2, 6, 2, generator=generator) for _ in range(2))
    where = torch.rand(2, 9, 2, generator=generator)
    normal = distributions.Normal(mean[:, :, None], (spread / 2).exp()[:, :, None])
    expected = normal.log_prob(2 * where[:, None] - 1).sum(-1)
    torch.testing.assert_close(density(mean, spread, where), expected, atol=1e-5, rtol=1e-4)


def test_alpha_says_how_much_the_shape_counts() -> None:
    net, given = tiny(), batch()
    found = remembered(net, given)
    prior = net.memory(found, given["valid"]).prior
    assert prior is not None
    inside = net.inside(given["valid"])
    expected = density(found["mean"], found["spread"], sequences.places(inside))
    torch.testing.assert_close(prior, 0.005 * expected)
    plain = answer(net, given)["sequence"]
    net.alpha = 0.0
    assert net.memory(found, given["valid"]).prior is None
    without = answer(net, given)["sequence"]
    net.alpha = 50.0
    much = answer(net, given)["sequence"]
    torch.testing.assert_close(without[:, 0], plain[:, 0], atol=0.05, rtol=0.05)
    assert (much - plain)[:, 0].abs().max() > 10 * (without - plain)[:, 0].abs().max() > 0


def test_the_shape_is_an_auto_encoder_of_pictures() -> None:
    torch.manual_seed(0)
    net = Shape(32, (8, 8), 6).eval()
    picture = torch.rand(3, 3, 32, 32) * 2 - 1
    mean, spread = net(picture)
    assert mean.shape == spread.shape == (3, 6, 2)
    drawn = net.drawn(mean, torch.full_like(spread, -60.0))
    assert drawn.shape == picture.shape
    assert drawn.abs().max() <= 1
    # Without variance it is always the same, and with it, it is not.
    torch.testing.assert_close(net.drawn(mean, torch.full_like(spread, -60.0)), drawn)
    assert not torch.allclose(net.drawn(mean, spread), net.drawn(mean, spread))
    nn_parameters = list(net.parameters())
    optimizer, flat = (
        torch.optim.Adam(net.parameters(), 0.01),
        picture * 0 + torch.tensor([0.6, -0.4, 0.1])[:, None, None],
    )
    assert all(p.requires_grad for p in nn_parameters)
    net.train()
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (net.drawn(*net(flat)) - flat).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_the_terms_of_the_loss_against_numbers_written_out() -> None:
    net, given = tiny().train(), batch(size=(64, 128))
    torch.nn.init.normal_(net.shape.spread.bias)
    outputs = net(given["image"], valid=given["valid"])
    found = net.loss(outputs, given, 0.5)
    assert found.keys() == {"words", "drawn", "latents"}
    mean, spread = outputs["mean"], outputs["spread"]
    normal = distributions.Normal(mean, (spread / 2).exp())
    unit = distributions.Normal(torch.zeros(()), torch.ones(()))
    expected = 0.01 * distributions.kl_divergence(normal, unit).sum((1, 2)).mean()
    torch.testing.assert_close(found["latents"], expected, atol=1e-5, rtol=1e-4)
    seen = (given["image"] * 2 - 1)[..., ::2] * 0.5 + (given["image"] * 2 - 1)[..., 1::2] * 0.5
    apart = (outputs["drawn"] - seen).square()
    parts = [apart[i, ..., : 48 if i == 3 else 64].mean() for i in range(4)]
    torch.testing.assert_close(found["drawn"], 0.1 * sum(parts) / 4, atol=1e-5, rtol=1e-4)
    # What is not the picture's is no part of what is drawn.
    other = given | {"image": torch.where(given["valid"], given["image"], 0.9)}
    torch.testing.assert_close(net.loss(outputs, other, 0.5)["drawn"], found["drawn"])


def test_the_last_edit_is_told_first_and_answers_are_in_order() -> None:
    net, given = tiny(dropout=(0.0, 0.0)), batch()
    assert net.inverted
    outputs = net.train()(given["image"], valid=given["valid"])
    net.eval()
    lost = net.loss(outputs, given, 0.5)["words"]
    before, words = sequences.told(torch.tensor([[1, 5, 2, 0, 0], [0] * 5, [3, 2, 0, 0, 0], [1, 2, 3, 4, 5]]))
    logits = net.decoder(before, net.memory(outputs, given["valid"]))
    expected = functional.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=7)
    torch.testing.assert_close(lost, expected)
    found = answer(net, given)
    with torch.inference_mode():
        spoken = net.decoder.greedy(net.memory(remembered(net, given), given["valid"]))
    torch.testing.assert_close(found["sequence"], sequences.turned_logits(spoken))
    torch.testing.assert_close(found["score"], sequences.score(spoken[:, 0]))
    assert not torch.equal(found["sequence"], spoken)


def test_states_of_one_word_at_one_step_attract_each_other() -> None:
    net = tiny(contrast=0.01)
    generator = torch.Generator().manual_seed(0)
    states, words = (
        torch.randn(6, 6, 96, generator=generator),
        torch.tensor([[1, 6, 7, 7, 7, 7]] * 3 + [[2, 3, 6, 7, 7, 7]] * 3),
    )
    unit, total = functional.normalize(states, dim=2), 0.0
    for step in range(6):
        said = [i for i in range(6) if words[i, step] < 7]
        terms = []
        for i in said:
            others = [j for j in said if j != i]
            same = [j for j in others if words[j, step] == words[i, step]]
            logits = {j: float(unit[i, step] @ unit[j, step]) / 0.07 for j in others}
            if same:
                scale = torch.tensor(list(logits.values())).logsumexp(0)
                terms.append(-sum(logits[j] - float(scale) for j in same) / len(same))
        total += sum(terms) / max(1, len(terms)) / 6
    assert net.contrasted(states, words).item() == pytest.approx(total, rel=1e-4)
    alike = torch.where((words == words[:1])[..., None], states[:1], states[3:4])
    # Three that are one: each sees two like itself and no other, at each of three steps.
    assert net.contrasted(alike, words).item() == pytest.approx(3 * math.log(2) / 6, rel=1e-3)
    lonely = torch.tensor([[1, 6, 7, 7, 7, 7], [6, 7, 7, 7, 7, 7]])
    single = states[:2].clone().requires_grad_()
    net.contrasted(single, lonely).backward()
    assert torch.isfinite(single.grad).all()


def test_the_extension_is_a_setting() -> None:
    wanted = recipes.load("tsom_pp", ["train_on=[{manifest: x.jsonl}]"])
    assert wanted.network.name == "tsom"
    net, plain = tiny(**wanted.network.settings).train(), tiny().train()
    assert parameters(net) == parameters(plain)
    given = batch()
    found = net.loss(net(given["image"], valid=given["valid"]), given, 0.5)
    assert found.keys() == {"words", "drawn", "latents", "contrast"}
    assert found["contrast"].item() > 0
    found["contrast"].backward()
    assert net.backbone.stem[0].weight.grad.abs().max() > 0
    assert recipes.load("tsom", ["train_on=[{manifest: x.jsonl}]"]).optimizer == wanted.optimizer


def test_what_is_out_of_its_range_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="backbone 'vit'"):
        tsom.build(backbone="vit")
    for settings in ({"layers": 0}, {"width": 100}, {"dropout": (0.1,)}, {"dropout": (0.1, 1.0)}):
        with pytest.raises(InvalidValueError, match="expected layers from 1"):
            tsom.build("tiny", **settings)
    for settings in ({"shape": 60}, {"alpha": -1.0}, {"contrast": -1.0}, {"weigh": (0.1,)}, {"weigh": (0.1, -0.1)}):
        with pytest.raises(InvalidValueError, match="expected a shape of whole 8s"):
            tsom.build("tiny", **settings)


@pytest.mark.slow
def test_the_order_of_edits_that_lie_apart_is_a_guess() -> None:
    """All edits are named, so that it is not for want of learning."""
    found = accuracies(trained(tsom.build, False, 480, dropout=(0.1, 0.1), contrast=0.01), False, 600)
    for count, chance in ((2, 1 / 2), (3, 1 / 6)):
        assert found[count].sets > 0.85
        assert found[count].order == pytest.approx(chance, abs=0.1)


@pytest.mark.slow
def test_textures_tell_the_order_of_overlapping_edits() -> None:
    net = trained(tsom.build, True, 240, dropout=(0.1, 0.1))
    found = accuracies(net, True)
    for count, chance in ((2, 1 / 2), (3, 1 / 6)):
        assert found[count].sets > 0.85
        assert found[count].order > chance + 0.25
