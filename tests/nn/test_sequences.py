"""Sequences: places, priors, a decoder that knows nothing of later words, and words in either order."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tamperscope.errors import InvalidValueError  # noqa: E402
from tamperscope.nn import sequences  # noqa: E402
from tamperscope.nn.sequences import Attend, Decoder, EncoderLayer, Memory, SeveralLayer, SpatialLayer  # noqa: E402

WIDTH, HEADS = 16, 2
END, FILL = 6, 7


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (5, 6)) -> torch.Tensor:
    inside = torch.zeros(1, 1, *size, dtype=torch.bool)
    inside[..., rows, columns] = True
    return inside


def memory(count: int = 2, memories: int = 1, seed: int = 0, prior: bool = False) -> Memory:
    generator = torch.Generator().manual_seed(seed)
    inside = torch.ones(count, 1, 4, 4, dtype=torch.bool)
    tokens = tuple(torch.randn(count, 16, WIDTH, generator=generator) for _ in range(memories))
    told = torch.randn(count, 6, 16, generator=generator) if prior else None
    return Memory(tokens, sequences.places(inside), sequences.hidden(inside), told)


def decoder(kind: type = SpatialLayer, seed: int = 1) -> Decoder:
    torch.manual_seed(seed)
    return Decoder([kind(WIDTH, HEADS, 32, 0.2) for _ in range(2)], WIDTH, 24, dropout=0.2).eval()


def test_places_go_from_edge_to_edge_of_the_picture() -> None:
    whole = sequences.places(rectangle(slice(None), slice(None)))[0].unflatten(0, (5, 6))
    torch.testing.assert_close(whole[2, :, 0], (torch.arange(6) + 0.5) / 6)
    torch.testing.assert_close(whole[:, 3, 1], (torch.arange(5) + 0.5) / 5)
    for rows, columns in ((slice(0, 3), slice(0, 4)), (slice(2, 5), slice(2, 6))):
        part = sequences.places(rectangle(rows, columns))[0].unflatten(0, (5, 6))[rows, columns]
        alone = sequences.places(torch.ones(1, 1, 3, 4, dtype=torch.bool))[0].unflatten(0, (3, 4))
        torch.testing.assert_close(part, alone)


def test_sine_positions_against_numbers_written_out() -> None:
    where = torch.tensor([[[0.25, 0.5]]])
    found = sequences.sine(where, 8)[0, 0]
    expected = []
    for value in (0.25, 0.5):
        for speed in (1.0, 10_000**-0.5):
            expected += [math.sin(2 * math.pi * value * speed), math.cos(2 * math.pi * value * speed)]
    torch.testing.assert_close(found, torch.tensor(expected))
    with pytest.raises(InvalidValueError, match="2 axes share in pairs, found 6"):
        sequences.sine(where, 6)


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    net, other = Attend(WIDTH, HEADS), torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    other.in_proj_weight.data = torch.cat([net.q.weight, net.k.weight, net.v.weight])
    other.in_proj_bias.data = torch.cat([net.q.bias, torch.randn(WIDTH), net.v.bias])
    other.out_proj.load_state_dict(net.proj.state_dict())
    query, key, value = (torch.randn(3, n, WIDTH) for n in (4, 7, 7))
    bias = torch.randn(3, HEADS, 4, 7)
    expected = other(query, key, value, attn_mask=bias.flatten(0, 1))[0]
    torch.testing.assert_close(net(query, key, value, bias), expected)
    with pytest.raises(InvalidValueError, match="expected a width that 3 heads share"):
        Attend(WIDTH, 3)


def test_what_lies_outside_is_not_looked_at() -> None:
    torch.manual_seed(0)
    layer, inside = EncoderLayer(WIDTH, HEADS, 32).eval(), rectangle(slice(0, 3), slice(0, 4))
    x, bias = torch.randn(1, 30, WIDTH), sequences.hidden(inside)
    position = sequences.sine(sequences.places(inside), WIDTH)
    other = torch.where(inside.flatten(2).transpose(1, 2), x, 9.0)
    seen = inside.flatten()
    torch.testing.assert_close(layer(x, position, bias)[:, seen], layer(other, position, bias)[:, seen])
    assert not torch.allclose(layer(x, position)[:, seen], layer(other, position)[:, seen])


def test_a_step_looks_where_it_says() -> None:
    torch.manual_seed(0)
    layer, normed = SpatialLayer(WIDTH, HEADS, 32), torch.randn(2, 3, WIDTH)
    where = sequences.places(torch.ones(2, 1, 8, 8, dtype=torch.bool))
    found = layer.prior(normed, where)
    assert found.shape == (2, HEADS, 3, 64)
    centre, scale = layer.centre(normed).sigmoid(), layer.scale(normed)
    for head, step, token in ((0, 0, 5), (1, 2, 60)):
        x, y = centre[1, step, 2 * head : 2 * head + 2] * 8
        squared = (x - token % 8 - 0.5) ** 2 + (y - token // 8 - 0.5) ** 2
        expected = -squared * scale[1, step, head] ** 2 / 4
        torch.testing.assert_close(found[1, head, step, token], expected, atol=1e-5, rtol=1e-4)
    # A centre on one token and a large scale leave nothing but that token's value.
    torch.nn.init.zeros_(layer.centre.weight)
    torch.nn.init.constant_(layer.scale.bias, 100.0)
    layer.centre.bias.data = torch.logit(torch.tensor([2.5, 5.5] * HEADS) / 8)
    seen = Memory((torch.randn(2, 64, WIDTH),), where, torch.zeros(2, 1, 1, 64))
    got = layer.eval().looked(torch.zeros(2, 3, WIDTH), normed, seen, torch.zeros(2, 64, WIDTH))
    only = layer.attention.proj(layer.attention.v(seen.tokens[0][:, 5 * 8 + 2]))
    torch.testing.assert_close(got, only[:, None].expand(-1, 3, -1), atol=1e-4, rtol=1e-3)


def test_a_prior_is_added_for_every_memory() -> None:
    layer = decoder(SeveralLayer).layers[0]
    x, normed = torch.randn(2, 3, WIDTH), torch.randn(2, 3, WIDTH)
    seen = memory(memories=3)
    one = torch.full((2, 6, 16), -1e4)
    one[:, :, 7] = 0
    told = Memory(seen.tokens, seen.places, seen.hidden, one)
    position = torch.zeros(2, 16, WIDTH)
    got = layer.looked(x, normed, told, position)
    parts = [
        norm(x + attention.proj(attention.v(tokens[:, 7:8])))
        for attention, norm, tokens in zip(layer.attentions, layer.norms, seen.tokens, strict=True)
    ]
    torch.testing.assert_close(got, sum(parts))
    flat = Memory(seen.tokens, seen.places, seen.hidden, torch.full((2, 6, 16), 0.3))
    torch.testing.assert_close(layer.looked(x, normed, flat, position), layer.looked(x, normed, seen, position))


@pytest.mark.parametrize(("kind", "memories"), [(SpatialLayer, 1), (SeveralLayer, 3)])
def test_no_step_knows_of_later_words(kind: type, memories: int) -> None:
    net, seen = decoder(kind), memory(memories=memories, prior=memories > 1)
    words = torch.tensor([[0, 3, 1, 5, 2, 6], [0, 2, 6, 7, 7, 7]])
    with torch.inference_mode():
        whole = net(words, seen)
        assert whole.shape == (2, 6, 8)
        for step in range(1, 6):
            other = words.clone()
            other[:, step:] = (other[:, step:] + 1) % 8
            found = net(other, seen)
            torch.testing.assert_close(found[:, :step], whole[:, :step])
            assert not torch.allclose(found[:, step], whole[:, step])
            torch.testing.assert_close(net(words[:, :step], seen), whole[:, :step])


def test_it_goes_on_from_its_own_words() -> None:
    net, seen = decoder(), memory(4)
    torch.nn.init.normal_(net.words.weight, 0, 3)
    with torch.inference_mode():
        logits = net.greedy(seen)
        said = sequences.called(logits)
        assert ((said >= 1) & (said <= END)).all()
        before = torch.cat([torch.zeros(4, 1, dtype=torch.long), said[:, :-1]], 1)
        torch.testing.assert_close(net(before, seen), logits)
    assert len({tuple(row) for row in said.tolist()}) > 1


def test_what_begins_and_what_fills_up_is_never_said() -> None:
    logits = torch.zeros(3, 8)
    logits[:, 0], logits[:, FILL] = 9, 9
    logits[0, 4], logits[1, END] = 1, 1
    assert sequences.called(logits).tolist() == [4, END, 1]


def test_the_score_is_the_chance_of_a_word() -> None:
    first = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    chances = first[:, 1:7].softmax(1)
    torch.testing.assert_close(sequences.score(first).sigmoid(), chances[:, :5].sum(1))


def test_words_before_and_words_to_be_said() -> None:
    truth = torch.tensor([[2, 5, 1, 0, 0], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5]])
    before, words = sequences.told(truth)
    assert before.tolist() == [[0, 2, 5, 1, 6, 7], [0, 6, 7, 7, 7, 7], [0, 1, 2, 3, 4, 5]]
    assert words.tolist() == [[2, 5, 1, 6, 7, 7], [6, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 6]]


def test_sequences_and_answers_are_turned_alike() -> None:
    truth = torch.tensor([[2, 5, 1, 0, 0], [0, 0, 0, 0, 0], [1, 2, 3, 4, 5], [4, 0, 0, 0, 0]])
    back = sequences.turned(truth)
    assert back.tolist() == [[1, 5, 2, 0, 0], [0, 0, 0, 0, 0], [5, 4, 3, 2, 1], [4, 0, 0, 0, 0]]
    torch.testing.assert_close(sequences.turned(back), truth)
    spoken = torch.nn.functional.one_hot(sequences.told(back)[1], 8).float() + 0.1 * torch.rand(4, 6, 8)
    found = sequences.turned_logits(spoken)
    assert sequences.called(found)[[0, 2], :4].tolist() == [[2, 5, 1, END], [1, 2, 3, 4]]
    assert torch.equal(found[1], spoken[1])
    assert torch.equal(found[2, 5], spoken[2, 5])
    assert torch.equal(found[0, :3], spoken[0, :3].flip(0))
    # Six classes in a row are five and no end.
    endless = torch.nn.functional.one_hot(torch.tensor([[1, 2, 3, 4, 5, 1]]), 8).float()
    assert sequences.called(sequences.turned_logits(endless)).tolist() == [[5, 4, 3, 2, 1, 1]]
