"""SeqFakeFormer: words in their order, told the true ones before while it learns, its own when it answers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ordered_scenes import accuracies, drawn, made, trained, varied  # noqa: E402
from torch.nn import functional  # noqa: E402

from tamperscope.errors import InvalidValueError, UnknownNameError  # noqa: E402
from tamperscope.networks import seqfakeformer  # noqa: E402
from tamperscope.networks.base import parameters  # noqa: E402
from tamperscope.networks.seqfakeformer import SeqFakeFormer  # noqa: E402
from tamperscope.nn import sequences  # noqa: E402

TRUTH = torch.tensor([[2, 5, 1, 0, 0], [0, 0, 0, 0, 0], [4, 0, 0, 0, 0], [5, 4, 3, 2, 1]])


def tiny(seed: int = 1, **settings: object) -> SeqFakeFormer:
    """A network whose words differ from picture to picture."""
    torch.manual_seed(seed)
    return varied(seqfakeformer.build("tiny", **settings), batch()["image"])


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Four pictures; of the last one the right quarter is filled up."""
    valid = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    valid[-1, ..., 48:] = False
    coarse = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return {"image": functional.interpolate(coarse, (64, 64)), "valid": valid, "sequence": TRUTH}


def answer(net: SeqFakeFormer, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return net(given["image"], valid=given["valid"])


def test_the_published_shape() -> None:
    with torch.device("meta"):
        full = seqfakeformer.build("full")
    assert parameters(full.backbone) == pytest.approx(23.508e6, rel=1e-4)
    assert tuple(full.narrow.weight.shape) == (256, 2048, 1, 1)
    assert len(full.encoder) == len(full.decoder.layers) == 2
    assert {layer.attention.heads for layer in (*full.encoder, *full.decoder.layers)} == {4}
    assert full.encoder[0].mlp.fc1.out_features == full.decoder.layers[0].mlp.fc1.out_features == 512
    sizes = [(m.in_features, m.out_features) for m in full.decoder.last if hasattr(m, "in_features")]
    assert sizes == [(256, 512), (512, 512), (512, 8)]
    assert (full.decoder.words.num_embeddings, full.decoder.length, full.multiple) == (8, 6, 32)
    assert {layer.drop.p for layer in (*full.encoder, *full.decoder.layers)} == {0.1}
    assert parameters(full) == pytest.approx(27.08e6, rel=1e-3)
    assert parameters(seqfakeformer.build("tiny")) == pytest.approx(0.48e6, rel=0.01)


def test_the_loss_tells_the_true_words_before_each_step() -> None:
    net, given = tiny().train(), batch()
    for layer in net.modules():
        if isinstance(layer, torch.nn.Dropout | sequences.Attend):
            layer.eval()
    outputs = net(given["image"], valid=given["valid"])
    assert "sequence" not in outputs
    found = net.loss(outputs, given, 0.5)
    assert found.keys() == {"words"}
    memory, total, count = net.memory(outputs, given["valid"]), 0.0, 0
    for picture, row in enumerate(TRUTH.tolist()):
        words = [0, *[n for n in row if n], 6]
        for step in range(1, len(words)):
            before = torch.tensor([words[:step]] * 4)
            logits = net.decoder(before, memory)[picture, -1]
            total -= logits.log_softmax(0)[words[step]].item()
            count += 1
    assert found["words"].item() == pytest.approx(total / count, rel=1e-4)
    other = given | {"sequence": TRUTH.clone()}
    other["sequence"][0, :3] = torch.tensor([5, 2, 1])
    assert net.loss(outputs, other, 0.5)["words"].item() != found["words"].item(), "order counts"


class Watched(dict):
    """A batch that notes which of its parts are read."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> object:
        self.read.add(key)
        return super().__getitem__(key)


def test_no_truth_but_the_sequence_is_read() -> None:
    net, told = tiny().train(), Watched(batch() | {"mask": torch.ones(4, 1, 64, 64), "label": torch.ones(4)})
    net.loss(net(told["image"], valid=told["valid"]), told, 0.5)
    assert told.read == {"image", "valid", "sequence"}
    assert (net.supervision, net.edits) == ("label", 5)


def test_the_score_is_what_the_first_step_says() -> None:
    net, given = tiny(), batch()
    found = answer(net, given)
    first = found["sequence"][:, 0]
    torch.testing.assert_close(found["score"], first[:, 1:6].exp().sum(1).log() - first[:, 6], atol=1e-4, rtol=1e-4)
    assert len({tuple(row) for row in sequences.called(found["sequence"]).tolist()}) > 1
    forged = torch.zeros_like(first)
    forged[:, 3] = 5
    assert (sequences.score(forged) > 0).all()


def test_inverted_it_says_the_same_in_the_other_order() -> None:
    """With the same weights, which then mean the last edit first."""
    net, given = tiny(), batch()
    plain = answer(net, given)
    net.inverted = True
    found = answer(net, given)
    torch.testing.assert_close(found["score"], plain["score"])
    assert not torch.equal(found["sequence"], plain["sequence"])
    for one, other in zip(found["sequence"], plain["sequence"], strict=True):
        words = sequences.called(other).tolist()
        count = min(words.index(6) if 6 in words else 6, 5)
        torch.testing.assert_close(one[:count], other[:count].flip(0))
    outputs = net.train()(given["image"], valid=given["valid"])
    net.eval()
    lost = net.loss(outputs, given, 0.5)["words"]
    net.inverted = False
    turned = net.loss(outputs, given | {"sequence": sequences.turned(TRUTH)}, 0.5)["words"]
    torch.testing.assert_close(lost, turned)
    assert lost.item() != net.loss(outputs, given, 0.5)["words"].item()


def test_pictures_go_with_their_own_answers() -> None:
    """Where tokens of different pictures are mixed up, another order of the batch gives other answers."""
    net, given, order = tiny(), batch(), torch.tensor([2, 0, 3, 1])
    plain, other = answer(net, given), answer(net, {key: value[order] for key, value in given.items()})
    for key, value in plain.items():
        torch.testing.assert_close(other[key], value[order], atol=1e-5, rtol=1e-4)
    assert plain["score"].std() > 0.01


def test_what_fills_a_canvas_up_is_not_looked_at() -> None:
    net, given = tiny(), batch()
    other = given | {"image": torch.where(given["valid"], given["image"], torch.rand(4, 3, 64, 64))}
    for key, value in answer(net, given).items():
        assert torch.equal(answer(net, other)[key], value)
    beyond = net.eval()
    with torch.inference_mode():
        tokens = beyond.remembered(given["image"] * given["valid"], given["valid"])["tokens"]
        memory = beyond.memory({"tokens": tokens}, given["valid"])
        inside = beyond.inside(given["valid"]).flatten(1)
        changed = torch.where(inside[..., None], tokens, 7.0)
        same = beyond.decoder.greedy(beyond.memory({"tokens": changed}, given["valid"]))
        torch.testing.assert_close(same, beyond.decoder.greedy(memory))


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="backbone 'vit'"):
        seqfakeformer.build(backbone="vit")
    with pytest.raises(InvalidValueError, match="expected a backbone of the library"):
        seqfakeformer.build(weights="somewhere")
    for settings in ({"layers": 0}, {"width": 98}, {"dropout": 1.0}):
        with pytest.raises(InvalidValueError, match="expected layers from 1"):
            seqfakeformer.build("tiny", **settings)


def test_edits_that_do_not_overlap_commute() -> None:
    """What the next test rests on: nothing in the pixels tells their order, and overlapping ones do."""
    generator = torch.Generator().manual_seed(4)
    for overlap in (False, True):
        for order in ([1, 2], [1, 3], [2, 3], [1, 2, 3]):
            image, seed = drawn(generator), 11
            one, other = made(image, order, overlap, seed), made(image, order[::-1], overlap, seed)
            assert torch.equal(one, other) != overlap, order
            assert not torch.equal(one, image)


@pytest.mark.slow
def test_order_is_told_only_where_edits_overlap_and_sooner_last_one_first() -> None:
    """All three name the edits; without overlap their order is a guess, whatever is asked first."""
    asked = {"apart": (False, True), "over": (True, True), "forward": (True, False)}
    found = {}
    for name, (overlap, inverted) in asked.items():
        net = trained(seqfakeformer.build, overlap, 210, inverted=inverted)
        found[name] = accuracies(net, overlap, 600)
    for count, chance in ((2, 1 / 2), (3, 1 / 6)):
        assert min(one[count].sets for one in found.values()) > 0.85
        assert found["apart"][count].order == pytest.approx(chance, abs=0.12)
        assert found["over"][count].order > chance + 0.2
    last, first = (found[name][2].order + found[name][3].order for name in ("over", "forward"))
    assert last > first + 0.1
