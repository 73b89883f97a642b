from __future__ import annotations

from pathlib import Path

import pytest

from tamperscope.bench import protocol, run
from tamperscope.data import sources
from tamperscope.errors import InputError, UnknownNameError
from tamperscope.metrics.suites import named
from tamperscope.ops import attack, grids

SHIPPED = (
    "aigcdetectbenchmark",
    "cat",
    "dev",
    "doctamper",
    "domains",
    "ff_cross",
    "genimage",
    "iff",
    "localizer",
    "localizer_robustness",
    "mvss",
    "pages",
    "robustness",
)
BASE = """
title: Base
tests:
  - {name: a, where: {split: test}}
  - {name: b, set: columbia, limit: 3}
suites: [imdl, benco]
attacks: [quick]
"""


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def names_in(name: str) -> list[str]:
    return [test.name for test in protocol.load(name).tests]


def test_the_list_of_shipped_protocols() -> None:
    assert set(SHIPPED) <= set(protocol.shipped())


@pytest.mark.parametrize("name", protocol.shipped())
def test_shipped_protocols_name_what_exists(name: str) -> None:
    chosen = protocol.load(name)
    assert chosen.title
    assert chosen.source
    assert set(chosen.suites) <= set(named.names())
    assert {test.set or test.name for test in chosen.tests if not test.manifest} <= set(sources.names())
    assert len({test.name for test in chosen.tests}) == len(chosen.tests)
    assert all(text in grids.names() or attack.parse(text).steps for text in chosen.attacks)
    assert len(run.points(chosen)) > len(chosen.attacks)


@pytest.mark.parametrize("name", ["mvss", "cat", "robustness"])
def test_imdl_protocols_never_test_on_what_they_train_on(name: str) -> None:
    chosen = protocol.load(name)
    trained = chosen.trained_on.lower().replace(" ", "_")
    assert trained
    assert not [test.name for test in chosen.tests if test.name in trained]


def test_inherited_fields_are_those_of_the_parent_unless_stated() -> None:
    mvss, cat, robustness = (protocol.load(name) for name in ("mvss", "cat", "robustness"))
    assert names_in("mvss") == ["casia_v1", "columbia", "coverage", "nist16", "imd2020"]
    assert names_in("cat") == ["casia_v1", "columbia", "coverage", "nist16"]
    assert mvss.suites == cat.suites == robustness.suites == ("imdl", "benco")
    assert mvss.trained_on != cat.trained_on == robustness.trained_on
    assert names_in("robustness") == ["casia_v1"]
    # 7 kernels, of which one is no attack, 6 noises, 6 qualities, and the untouched pictures.
    assert len(run.points(robustness)) == 1 + 7 + 6 + 6
    assert not any("literal" in point.label for point in run.points(robustness))


@pytest.mark.parametrize(("name", "field", "count"), [("genimage", "subset", 8), ("aigcdetectbenchmark", "subset", 16)])
def test_one_test_set_a_generator(name: str, field: str, count: int) -> None:
    from tamperscope.data.sources.folders import GENERATORS

    found = [test.where[field] for test in protocol.load(name).tests]
    assert len(set(found)) == len(found) == count
    assert set(found) <= set(GENERATORS.values())


def test_parts_of_doctamper_are_those_of_its_source() -> None:
    from tamperscope.data.sources.doctamper import PARTS

    parts = [test.where["subset"] for test in protocol.load("doctamper").tests if test.set == "doctamper"]
    assert sorted(parts) == sorted(part for part, split in PARTS.items() if split == "test")


def test_dev_reads_the_manifest_of_the_data_folder(tmp_path: Path) -> None:
    (test,) = protocol.load("dev").tests
    assert test.path(tmp_path) == tmp_path / "manifest.jsonl"
    assert test.where == {"split": "dev", "under": "casia"}


def test_paths_of_test_sets(tmp_path: Path) -> None:
    named_only, with_set = protocol.load(written(tmp_path, "base.yaml", BASE)).tests
    assert named_only.path(Path("D")) == Path("D/a/manifest.jsonl")
    assert with_set.path(Path("D")) == Path("D/columbia/manifest.jsonl")


def test_what_is_wrong_with_fields_is_said_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "base.yaml", BASE)
    with pytest.raises(InputError) as told:
        protocol.load(path, ["rounds=many", "tests.0.foo=1", "tests.1={limit: 3}"])
    assert str(told.value).partition("base.yaml': ")[2].split("; ") == [
        "tests.0.foo: no field of that name is known",
        "tests.1.name: Field required",
        "rounds: Input should be a valid integer, unable to parse string as an integer, found 'many'",
    ]


def test_sets_that_scripts_make_name_these() -> None:
    assert protocol.load("mvss").made_by == "tamperscope data prepare"
    for name, script in (
        ("domains", "domains.py"),
        ("localizer_robustness", "localizer.py forge"),
        ("pages", "documents.py forge"),
    ):
        assert protocol.load(name).made_by == f"python scripts/{script}"


def test_a_child_replaces_whole_fields_and_keeps_the_rest(tmp_path: Path) -> None:
    parent = written(tmp_path, "base.yaml", BASE)
    middle = written(tmp_path, "middle.yaml", f"inherits: {parent}\ntitle: Middle\nsuites: [pooled]\n")
    child = protocol.load(written(tmp_path, "child.yaml", f"inherits: {middle}\ntests: [{{name: c}}]\n"))
    assert (child.title, child.suites, child.attacks) == ("Middle", ("pooled",), ("quick",))
    assert [test.name for test in child.tests] == ["c"]


def test_dotted_overrides_reach_lists_and_win_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "base.yaml", BASE)
    changed = protocol.load(
        path,
        [
            "rounds=7",
            "tests.1.limit=20",
            "tests.0.where.split=train",
            "tests.0.where.under=x=y",
            "suites.1=pooled",
            "detectors=[ela, zero]",
            "tests.1.where={label: 1}",
        ],
    )
    assert changed.rounds == 7
    assert changed.tests[1].limit == 20
    assert changed.tests[0].where == {"split": "train", "under": "x=y"}
    assert changed.tests[1].where == {"label": 1}
    assert changed.suites == ("imdl", "pooled")
    assert changed.detectors == ("ela", "zero")
    assert protocol.load(path).rounds == 500  # nothing of an override stays behind
    assert protocol.load("mvss", ["tests.4={name: dso1}"]).tests[4].name == "dso1"
    assert protocol.load("mvss").tests[4].name == "imd2020"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rounds", "expected FIELD=VALUE"),
        ("tests.2.limit=1", "expected a number below 2, found '2'"),
        ("tests.first.limit=1", "expected a number below 2, found 'first'"),
        ("suites.9=imdl", "expected a number below 2, found '9'"),
        ("tests.-1.limit=1", "found '-1'"),
        ("rounds=many", "rounds"),
        ("tests=[]", "tests"),
        ("suites=[]", "suites"),
        ("tests.0.limt=1", "limt"),
        ("tests.0.limit=1.5", "limit"),
        ("roundz=3", "roundz"),
        ("title=[1]", "title"),
    ],
)
def test_overrides_that_do_not_fit(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        protocol.load(written(tmp_path, "base.yaml", BASE), [setting])


@pytest.mark.parametrize(
    ("name", "setting", "nearest"),
    [
        ("mvs", "", "mvss"),
        ("robustnes", "", "robustness"),
        ("mvss", "suites=[imdll]", "imdl"),
        ("mvss", "test.0.limit=1", "tests"),
        ("mvss", "tests.0.wher.split=test", "where"),
    ],
)
def test_near_names_are_offered(name: str, setting: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"'{nearest}'|known: {nearest}"):
        protocol.load(name, [setting] if setting else [])


def test_cycles_are_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"inherits: {two}\n")
    two.write_text(f"inherits: {one}\n")
    with pytest.raises(InputError, match=r"inherits from itself: .*one\.yaml → .*two\.yaml → .*one\.yaml"):
        protocol.load(str(one))
    alone = written(tmp_path, "alone.yaml", f"inherits: {tmp_path / 'alone.yaml'}\n")
    with pytest.raises(InputError, match="inherits from itself"):
        protocol.load(alone)


def test_a_parent_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mvss'"):
        protocol.load(written(tmp_path, "child.yaml", "inherits: mvsss\n"))
    with pytest.raises(InputError, match="found no file"):
        protocol.load(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "expected YAML"),
        ("title: a\n\tb: c", "expected YAML"),
        ("!!python/object/apply:os.getcwd []", "expected YAML"),
        ("- a\n- b\n", "found list"),
        ("", "found NoneType"),
        ("just words", "found str"),
        ("title: no tests", "tests"),
        ("tests: [{name: a}]", "title"),
        ("title: a\ntests: []", "tests"),
        ("title: a\ntests: {name: a}", "tests"),
        ("title: a\ntests: [{set: columbia}]", "name"),
        ("title: a\ntests: [{name: a, where: [split, test]}]", "where"),
        ("title: a\ntests: [{name: a}]\nseed: one", "seed"),
        ("title: a\ntests: [{name: a}]\nsuits: [imdl]", "suits"),
        ("title: a\ntests: [{name: a}]\nsuites: imdl", "suites"),
    ],
)
def test_files_of_the_wrong_shape(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        protocol.load(written(tmp_path, "broken.yaml", text))
    assert "broken.yaml" in str(caught.value)


def test_a_protocol_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        protocol.load("mvss").rounds = 3
