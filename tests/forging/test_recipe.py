from __future__ import annotations

from pathlib import Path

import pytest

from tamperscope.errors import InputError, InvalidValueError, UnknownNameError
from tamperscope.forging import recipe as recipes

SHIPPED = {"splice", "casia_like", "camera", "everything", "trace_pairs"}


def test_the_list_of_shipped_recipes() -> None:
    assert set(recipes.shipped()) >= SHIPPED


@pytest.mark.parametrize("name", recipes.shipped())
def test_shipped_recipes_name_what_exists(name: str) -> None:
    chosen = recipes.load(name)
    assert chosen.title
    assert chosen.source


def test_casia_like_is_small_strongly_compressed_and_inherits_the_ranges() -> None:
    chosen = recipes.load("casia_like")
    assert chosen.hosts.max_side <= 400
    assert chosen.hosts.recompressed == 1.0
    assert set(chosen.operations) == {"splice", "copy_move"}
    assert chosen.ranges == recipes.load("everything").ranges
    assert recipes.load("camera").hosts.max_side > 4000


def test_dotted_settings_reach_fields_that_no_file_states() -> None:
    chosen = recipes.load(
        "splice", ["gate.change=7", "hosts.qualities=[50, 60]", "operations.removal=2", "where.split=train"]
    )
    assert chosen.gate.change == 7
    assert chosen.gate.level == recipes.Gate().level
    assert chosen.hosts.qualities == (50, 60)
    assert chosen.operations == {"splice": 1, "removal": 2}
    assert chosen.where == {"split": "train"}
    assert recipes.load("splice").where == {}


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("operations.splic=1", UnknownNameError, "did you mean 'splice'"),
        ("ranges.splice.shore=1", UnknownNameError, "did you mean 'share'"),
        ("ranges.splice.donor=1", UnknownNameError, "setting of splice 'donor'"),
        ("ranges={removl: {}}", UnknownNameError, "did you mean 'removal'"),
        ("gat.change=1", UnknownNameError, "did you mean 'gate'"),
        ("deliveries={'jpg:quality=5': 1}", UnknownNameError, "jpeg"),
        ("deliveries={'jpeg:quality=500': 1}", InvalidValueError, "from 1 to 100"),
        ("operations={splice: 0}", InvalidValueError, "weight above 0"),
        ("operations={splice: -1}", InputError, "greater than or equal to 0"),
        ("operations={}", InputError, "at least 1"),
        ("steps=[2, 1]", InvalidValueError, "recipe.steps"),
        ("steps=[0, 1]", InvalidValueError, "recipe.steps"),
        ("steps=[1, 6]", InvalidValueError, "recipe.steps"),
        ("hosts.qualities=[0, 90]", InvalidValueError, "hosts.qualities"),
        ("gate.agreement=[0.5, 1.5]", InvalidValueError, "gate.agreement"),
        ("gates={splice: {chang: 1}}", InputError, r"^recipe\.gates\.splice: chang: no field of that name is known$"),
        ("hosts.objects=2", InputError, "hosts.objects"),
        ("tries=0", InputError, "tries"),
        ("titel=x", InputError, "titel"),
        ("title.x=1", InputError, "expected fields or a list"),
    ],
)
def test_settings_that_do_not_fit(setting: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        recipes.load("splice", [setting])


def test_a_file_of_ones_own_may_inherit(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("inherits: casia_like\ntitle: Own\nsteps: [2, 3]\n")
    own, parent = recipes.load(str(path)), recipes.load("casia_like")
    assert (own.title, own.steps) == ("Own", (2, 3))
    assert own.deliveries == parent.deliveries
    with pytest.raises(UnknownNameError, match="did you mean 'casia_like'"):
        recipes.load("casia_lik")
