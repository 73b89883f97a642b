"""Many files: the order given, equal bytes once, and nothing lost when workers break."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamperscope.errors import InputError
from tamperscope.report.fields import json_ready
from tamperscope.report.schema import ErrorReport, Report, Row
from tamperscope.scanning import Scanner
from tamperscope.scanning.ledger import Recent
from tamperscope.scanning.many import Desk, Pictures, Run, Task, renamed
from tamperscope.scanning.places import Place, digest, find


@pytest.fixture
def files(tmp_path: Path) -> list[Place]:
    for i in range(20):
        noise = np.random.default_rng(i % 13).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i:02}.png")
    return find([str(tmp_path)])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("one") / "a.png"
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
    return Scanner(["ela"]).scan(path, name="a.png")


class Counting:
    """Answers with a copy of one report, the later the file the sooner, and counts how often it was asked."""

    def __init__(self, template: Report, broken: str = "", error: Exception | None = None) -> None:
        self.template, self.broken, self.error = template, broken, error or InputError("broken")
        self.asked: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, task: Task) -> Row:
        with self.lock:
            self.asked.append(Path(task.name).name)
        time.sleep(0.02 * (1 - int(Path(task.name).stem) / 20))
        if Path(task.name).name == self.broken:
            raise self.error
        told = {"name": task.name, "sha256": digest(Path(task.path))}
        intake = self.template.intake.model_copy(update=told)
        return self.template.model_copy(update={"intake": intake})


def collected(work: Counting, files: list[Place], threads: int, share: bool = True) -> tuple[list[Row], int]:
    """Return the rows, each remembered before the next one is asked for, and how often a file was done."""
    ledger, rows, advanced = Recent(), [], []
    for row in Run(work, ledger, threads, share).rows(files, lambda: advanced.append(1)):
        ledger.add(row)
        rows.append(row)
    return rows, len(advanced)


@pytest.mark.parametrize("threads", [1, 4])
def test_rows_come_in_the_order_of_the_files_and_equal_bytes_once(
    files: list[Place], template: Report, threads: int
) -> None:
    work = Counting(template)
    rows, advanced = collected(work, files, threads)
    assert [r.intake.name for r in rows if isinstance(r, Report)] == [s.name for s in files]
    assert len(work.asked) == len(set(work.asked)) == 13
    assert advanced == 20
    assert [Path(r.intake.same_as).stem if r.intake.same_as else None for r in rows if isinstance(r, Report)] == [
        None if i < 13 else f"{i - 13:02}" for i in range(20)
    ]


@pytest.mark.parametrize("threads", [1, 4])
def test_equal_bytes_are_scanned_each_where_pages_are_written(
    files: list[Place], template: Report, threads: int
) -> None:
    work = Counting(template)
    rows, _ = collected(work, files, threads, share=False)
    assert len(rows) == len(work.asked) == 20


@pytest.mark.parametrize("threads", [1, 4])
def test_a_broken_file_costs_itself_and_its_copies(files: list[Place], template: Report, threads: int) -> None:
    rows, _ = collected(Counting(template, broken="03.png"), files, threads)
    assert [Path(r.name).name for r in rows if isinstance(r, ErrorReport)] == ["03.png", "16.png"]
    assert {r.sha256 for r in rows if isinstance(r, ErrorReport)} != {None}


@pytest.mark.parametrize("threads", [1, 3])
def test_files_that_vanish_are_told(files: list[Place], template: Report, threads: int) -> None:
    Path(files[5].name).unlink()
    rows, _ = collected(Counting(template), files, threads)
    assert len(rows) == 20
    assert [isinstance(r, ErrorReport) for r in rows].index(True) == 5


def test_a_stopped_consumer_stops_the_rest(files: list[Place], template: Report) -> None:
    work = Counting(template)
    rows = Run(work, Recent(), 2, share=False).rows(files)
    next(rows)
    rows.close()
    assert len(work.asked) < 20


def test_a_renamed_row_is_that_of_the_other_file(template: Report) -> None:
    row = renamed(template, "it's b.png")
    assert isinstance(row, Report)
    assert row.intake.same_as == "a.png"
    assert row.reproduce.command == template.reproduce.command.replace("a.png", "'it'\"'\"'s b.png'")
    assert renamed(row, "c.png").intake.same_as == "a.png"  # type: ignore[union-attr]
    assert row.verdict == template.verdict


@pytest.mark.parametrize("name", ["eq/bad\udcff.jpg", "it's \u202e\\'b.jpg", 'a "b" c.jpg', "--help.jpg", "a.jpg"])
def test_a_copy_has_one_command_that_names_it(template: Report, name: str) -> None:
    scanner = Scanner(["ela"], quick=True)
    row = template.model_copy(
        update={
            "intake": template.intake.model_copy(update={"name": json_ready(name)}),
            "reproduce": scanner.reproduce(name),
        }
    )
    for copy in ("eq/z.jpg", "eq/\udcfe it's.jpg", "-o.jpg"):
        found = renamed(row, copy)
        assert isinstance(found, Report)
        assert found.reproduce.command == scanner.reproduce(copy).command
        again = renamed(found, name)
        assert isinstance(again, Report)
        assert again.reproduce.command == row.reproduce.command


def test_folders_that_cannot_be_are_told_before_anything_is_scanned(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a page")
    for option, pictures in (
        ("--html", Pictures(html=taken)),
        ("--pdf", Pictures(pdf=taken)),
        ("--save-maps", Pictures(maps=taken)),
    ):
        with pytest.raises(InputError, match=f"{option}: for many pictures expected a folder .*, found a file; name"):
            pictures.prepare()
    with pytest.raises(InputError, match=r"--html: .* found Not a directory"):
        Pictures(html=taken / "inside").prepare()
    assert taken.read_text() == "a page"
    Pictures(html=tmp_path / "new" / "pages").prepare()
    assert (tmp_path / "new" / "pages").is_dir()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="--pdf: expected a folder that may be written to"):
        Pictures(pdf=tmp_path / "closed").prepare()


def test_a_desk_writes_pages_and_maps(files: list[Place], tmp_path: Path) -> None:
    desk = Desk(Scanner(["ela"]), Pictures(html=tmp_path / "pages", maps=tmp_path / "maps"))
    row = desk(Task(files[0].name, "other name.png"))
    assert isinstance(row, Report)
    assert row.rgb is None
    (page,) = (tmp_path / "pages").iterdir()
    assert page.name.startswith("other_name-")
    assert (tmp_path / "maps" / page.stem / "ela.png").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_worker_costs_nothing(files: list[Place]) -> None:
    from tamperscope.scanning.many import begin
    from tamperscope.workers import Crew

    with Crew(begin, ({"names": ("ela",)}, Pictures()), 2) as crew:
        rows: list[Row] = []
        for row in Run(lambda task: crew.submit(task).result(), Recent(), 2, share=False).rows(files):
            if len(rows) in (2, 9):
                os.kill(crew.pids[0], signal.SIGKILL)
            rows.append(row)
    assert [r.intake.name for r in rows if isinstance(r, Report)] == [s.name for s in files]


def test_a_fault_of_ours_at_one_picture_ends_no_run(files: list[Place], template: Report) -> None:
    rows, _ = collected(Counting(template, "07.png", ValueError("no such fault was thought of")), files, 3, share=False)
    assert len(rows) == len(files)
    failed = [row for row in rows if isinstance(row, ErrorReport)]
    assert [(Path(row.name).name, row.error) for row in failed] == [("07.png", "ValueError")]
