from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamperscope.forging import operations, words

TURNS = np.zeros((90, 90), np.uint8)
TURNS[:10, :10] = 1  # small, top left: 1.2 %
TURNS[60:90, 35:65] = 2  # 11 %, bottom


def edit(noun: str = "", relation: str = "", attributes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"words": {"noun": noun, "attributes": list(attributes), "place": "", "relation": relation}}


def test_four_levels_of_one_edit() -> None:
    told = words.sentences(
        ["splice"],
        [edit("a person", "pasted in from another picture", ("old", "bald"))],
        np.minimum(TURNS, 1) * (TURNS == 1),
    )
    assert tuple(told) == words.LEVELS
    assert told == {
        "noun": "A person was pasted in.",
        "attributes": "A small old bald person was pasted in.",
        "relations": "A small old bald person at the top left was pasted in from another picture.",
        "objects": "One edit was made: a small old bald person at the top left was pasted in from another picture.",
    }


def test_several_edits_the_largest_leads() -> None:
    told = words.sentences(
        ["copy_move", "removal"],
        [edit("an object", "copied from the right"), edit("a dog", "removed and filled from its surroundings")],
        TURNS,
    )
    assert told["noun"] == "A dog was removed."
    assert told["relations"] == "A dog at the bottom was removed and filled from its surroundings."
    assert told["objects"] == (
        "Two edits were made: a small object at the top left was copied from the right; "
        "a dog at the bottom was removed and filled from its surroundings."
    )


@pytest.mark.parametrize(
    ("noun", "attributes", "expected"),
    [
        ("a person", ("old",), "An old person was"),
        ("an object", ("blue",), "A blue object was"),
        ("the sky", ("red",), "The red sky was"),
        ("letters", ("thin",), "Thin letters were"),
        ("eyes", (), "Eyes were"),
        ("the Clouds", ("grey",), "The grey Clouds were"),
        ("a bus", (), "A bus was"),
        ("hair", ("long",), "Long hair was"),
        ("the grass", (), "The grass was"),
        ("", (), "A region was"),
    ],
)
def test_articles(noun: str, attributes: tuple[str, ...], expected: str) -> None:
    told = words.sentences(["removal"], [edit(noun, "", attributes)], (TURNS == 2).astype(np.uint8))
    assert told["attributes"].startswith(expected)


def test_many_things_were_changed_at_every_level() -> None:
    told = words.sentences(["face_part"], [edit("eyes", "filtered", ("small",))], (TURNS == 2).astype(np.uint8))
    assert told["noun"] == "Eyes were changed."
    assert told["relations"] == "Small eyes at the bottom were filtered."


def test_what_only_says_how_is_added() -> None:
    told = words.sentences(["trace_blur"], [edit("a region", "with unchanged content")], (TURNS == 2).astype(np.uint8))
    assert told["relations"] == "A region at the bottom was reprocessed with unchanged content."


def test_an_edit_that_was_covered_is_not_told() -> None:
    told = words.sentences(["splice", "removal"], [edit("a cat"), edit("a dog")], (TURNS == 2).astype(np.uint8) * 2)
    assert "cat" not in told["objects"]
    assert told["objects"].startswith("One edit was made: a dog")


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(operations.OPERATIONS)), min_size=1, max_size=3),
    noun=st.sampled_from(["a person", "an object", "a region", ""]),
    seed=st.integers(0, 1000),
)
def test_sentences_are_sentences(names: list[str], noun: str, seed: int) -> None:
    turns = np.random.default_rng(seed).integers(0, len(names) + 1, (9, 12)).astype(np.uint8)
    turns[0, 0] = 1
    told = words.sentences(names, [edit(noun)] * len(names), turns)
    for text in told.values():
        assert text[0].isupper()
        assert text.endswith(".")
        assert "  " not in text
        assert " was " in text
    assert len(told["noun"]) <= len(told["attributes"]) < len(told["relations"]) < len(told["objects"])
