"""Cases: pictures that belong together, and what people noted on them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from sqlalchemy import Float, ForeignKey, Integer, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tamperscope.serve.store import Base, Job, Jobs, Words

MARKS = ("ok", "check", "warning")


class Case(Base):
    """A collection of pictures of one owner."""

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    title: Mapped[str] = mapped_column(Words)
    created: Mapped[float] = mapped_column(Float)


class Member(Base):
    """A picture's place in a case."""

    __tablename__ = "members"

    job: Mapped[str] = mapped_column(String(32), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    case: Mapped[str] = mapped_column(String(32), ForeignKey("cases.id", ondelete="CASCADE"), index=True)


class Mark(Base):
    """A note of a person on a picture."""

    __tablename__ = "marks"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job: Mapped[str] = mapped_column(String(32), ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    text: Mapped[str] = mapped_column(Words)
    created: Mapped[float] = mapped_column(Float)


class Cases:
    """The tables of cases, in the database of the jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._engine = jobs.engine
        Base.metadata.create_all(self._engine)

    def create(self, owner: str, title: str) -> Case:
        """Begin a case."""
        case = Case(id=uuid.uuid4().hex, owner=owner, title=title[:200], created=time.time())
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            session.add(case)
        return case

    def of(self, owner: str) -> list[Case]:
        """Return the cases of an owner, newest first."""
        with Session(self._engine) as session:
            return list(session.scalars(select(Case).where(Case.owner == owner).order_by(Case.created.desc())))

    def find(self, case: str, owner: str) -> Case | None:
        """Return a case; of another owner's, None."""
        with Session(self._engine) as session:
            found = session.get(Case, case)
            return found if found is not None and found.owner == owner else None

    def rename(self, case: str, title: str) -> None:
        """Give a case another title."""
        with Session(self._engine) as session, session.begin():
            if (found := session.get(Case, case)) is not None:
                found.title = title[:200]

    def remove(self, case: str) -> None:
        """Forget a case; its pictures are removed before, as jobs."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(Member).where(Member.case == case))
            session.execute(delete(Case).where(Case.id == case))

    def add(self, case: str, job: str) -> None:
        """Put a picture into a case; it then stays until it is deleted."""
        with Session(self._engine) as session, session.begin():
            session.merge(Member(job=job, case=case))

    def case_of(self, job: str) -> str | None:
        """Return the case that a picture is in."""
        with Session(self._engine) as session:
            found = session.get(Member, job)
            return None if found is None else found.case

    def pictures(self, case: str) -> list[Job]:
        """Return the pictures of a case in the order of their acceptance."""
        with Session(self._engine) as session:
            wanted = select(Job).join(Member, Member.job == Job.id).where(Member.case == case).order_by(Job.created)
            return list(session.scalars(wanted))

    def marks(self, jobs: Sequence[str]) -> dict[str, list[Mark]]:
        """Return the marks on some pictures, oldest first."""
        found: dict[str, list[Mark]] = {job: [] for job in jobs}
        with Session(self._engine) as session:
            for mark in session.scalars(select(Mark).where(Mark.job.in_(jobs)).order_by(Mark.id)):
                found[mark.job].append(mark)
        return found

    def mark(self, job: str, kind: str, text: str) -> None:
        """Note something on a picture."""
        with Session(self._engine) as session, session.begin():
            session.add(Mark(job=job, kind=kind, text=text[:2000], created=time.time()))

    def unmark(self, job: str, mark: int) -> None:
        """Take a note back."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(Mark).where(Mark.job == job, Mark.id == mark))
