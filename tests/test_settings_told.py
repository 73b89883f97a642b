"""What is wrong with a document is told in one line, whichever document it is."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from tamperscope.settings import wrong


class Inner(BaseModel, extra="forbid"):
    number: int
    word: str = ""


class Outer(BaseModel):
    inner: list[Inner]


def told(document: object) -> str:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(document)
    return wrong(error.value)


def test_every_field_is_told_with_what_was_found() -> None:
    found = told({"inner": [{"number": "one"}, {"word": "a"}, {"number": 1, "wrd": "a"}]})
    assert found.split("; ") == [
        "inner.0.number: Input should be a valid integer, unable to parse string as an integer, found 'one'",
        "inner.1.number: Field required",
        "inner.2.wrd: no field of that name is known",
    ]


def test_of_many_fields_the_first_are_told_and_the_rest_counted() -> None:
    found = told({"inner": [{}] * 1000}).split("; ")
    assert found == [*(f"inner.{i}.number: Field required" for i in range(5)), "and 995 more"]


@pytest.mark.parametrize("document", [["a"], None, 3])
def test_a_whole_of_another_type_is_told(document: object) -> None:
    assert told(document) == f"Input should be a valid dictionary or instance of Outer, found {document!r}"


def test_another_error_says_what_it_says() -> None:
    assert wrong(KeyError("a")) == "'a'"
    with pytest.raises(ValidationError) as error:
        Outer.model_validate_json("{")
    assert wrong(error.value) == "Invalid JSON: EOF while parsing an object at line 1 column 1"
