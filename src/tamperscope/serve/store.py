"""What a service remembers: jobs in a database, their files in a folder or a store of objects."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Engine,
    Float,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tamperscope.errors import InputError, TamperscopeError
from tamperscope.files import replacing
from tamperscope.serve.settings import Settings


class Words(TypeDecorator[str]):
    """Text of strangers: what no database can hold, NUL and halves of surrogate pairs, becomes a mark or an escape."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Return what is stored."""
        if value is None:
            return None
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode()


class Base(DeclarativeBase):
    """What all tables of the service share."""


class Job(Base):
    """One accepted scan."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("owner", "idempotency"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    state: Mapped[str] = mapped_column(String(8), index=True, default="queued")
    name: Mapped[str] = mapped_column(Words, default="")
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    idempotency: Mapped[str | None] = mapped_column(String(255), default=None)
    created: Mapped[float] = mapped_column(Float, index=True)
    ended: Mapped[float | None] = mapped_column(Float, default=None)
    expires: Mapped[float | None] = mapped_column(Float, index=True, default=None)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    result: Mapped[str | None] = mapped_column(Text, default=None)
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)


class TakenError(TamperscopeError):
    """The owner has used that idempotency key before."""


class Jobs:
    """The table of jobs; every change is on disk when its method returns."""

    def __init__(self, address: str) -> None:
        """Open the database and make what is missing in it.

        Args:
            address: Of SQLAlchemy, such as `sqlite:///jobs.sqlite` or `postgresql+psycopg://…`.

        Raises:
            InputError: There is no such database, or its driver is missing.
        """
        try:
            self._engine = create_engine(address, pool_pre_ping=True)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _tune)
            Base.metadata.create_all(self._engine)
        except Exception as error:  # every driver has errors of its own
            raise InputError(f"expected a database that can be opened: {error}") from error

    @property
    def engine(self) -> Engine:
        """The engine, for other tables in the same database."""
        return self._engine

    def add(self, job: Job) -> None:
        """Accept a job.

        Raises:
            TakenError: Its idempotency key was used before.
        """
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                session.add(job)
        except IntegrityError as error:
            raise TakenError("this Idempotency-Key was used before") from error

    def find(self, job: str, owner: str | None = None) -> Job | None:
        """Return a job; of another owner's, None."""
        with Session(self._engine) as session:
            found = session.get(Job, job)
            return found if found is not None and owner in (None, found.owner) else None

    def repeated(self, owner: str, idempotency: str) -> Job | None:
        """Return the job that an owner made with an idempotency key."""
        with Session(self._engine) as session:
            return session.scalar(select(Job).where(Job.owner == owner, Job.idempotency == idempotency))

    def change(self, job: str, **fields: Any) -> bool:
        """Set fields of a job; return whether it exists."""
        with Session(self._engine) as session, session.begin():
            found = session.get(Job, job)
            for name, value in fields.items() if found is not None else ():
                setattr(found, name, value)
            return found is not None

    def unfinished(self) -> list[Job]:
        """Return the jobs that were accepted and have no end, oldest first."""
        with Session(self._engine) as session:
            wanted = select(Job).where(Job.state.in_(("queued", "running"))).order_by(Job.created)
            return list(session.scalars(wanted))

    def expired(self, now: float) -> list[str]:
        """Return the jobs whose time is over."""
        with Session(self._engine) as session:
            return list(session.scalars(select(Job.id).where(Job.expires <= now)))

    def remove(self, job: str) -> None:
        """Forget a job."""
        with Session(self._engine) as session, session.begin():
            session.execute(delete(Job).where(Job.id == job))

    def alive(self) -> bool:
        """Return whether the database answers."""
        try:
            with self._engine.connect() as connection:
                connection.execute(select(1))
        except Exception:  # every driver has errors of its own
            return False
        return True

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def _tune(connection: Any, record: Any) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


class Files:
    """Files of jobs under one address; a folder is written to at once, a store of objects by copies."""

    def __init__(self, address: str) -> None:
        """Open the place.

        Raises:
            InputError: fsspec knows no such store.
        """
        try:
            self._system, self._root = fsspec.core.url_to_fs(address)
            self._system.makedirs(self._root, exist_ok=True)
        except Exception as error:  # every store has errors of its own
            raise InputError(
                f"data: expected a folder or an address that fsspec knows, found '{address}': {error}"
            ) from error

    def _at(self, job: str, name: str = "") -> str:
        return f"{self._root}/jobs/{job}/{name}".rstrip("/")

    def put(self, job: str, name: str, source: Path) -> None:
        """Store a file of a job whole, and take it from where it lies."""
        if isinstance(self._system, fsspec.implementations.local.LocalFileSystem):
            with replacing(self._at(job, name)) as part:
                shutil.move(source, part)
            return
        self._system.put_file(str(source), self._at(job, name))
        source.unlink()

    def put_all(self, job: str, folder: Path) -> None:
        """Store every file of a folder and of those in it."""
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            self.put(job, path.relative_to(folder).as_posix(), path)

    def get(self, job: str, name: str, target: Path) -> Path:
        """Copy a file of a job to this machine.

        Raises:
            FileNotFoundError: There is none of that name.
        """
        self._system.get_file(self._at(job, name), str(target))
        return target

    def read(self, job: str, name: str) -> bytes | None:
        """Return the bytes of a file of a job, or None where there is none of that name."""
        try:
            data: bytes = self._system.cat_file(self._at(job, name))
        except (FileNotFoundError, IsADirectoryError):
            return None
        return data

    def names(self, job: str) -> Iterator[str]:
        """Yield the names of a job's files."""
        base = self._at(job)
        if self._system.isdir(base):
            for path in sorted(self._system.find(base)):
                yield path[path.rindex(f"/jobs/{job}/") + len(f"/jobs/{job}/") :]

    def remove(self, job: str, name: str = "") -> None:
        """Delete one file of a job, or all."""
        place = self._at(job, name)
        if self._system.exists(place):
            self._system.rm(place, recursive=not name)


def opened(settings: Settings) -> tuple[Jobs, Files]:
    """Return the table of jobs and the files of a service.

    Raises:
        InputError: One of them cannot be opened.
    """
    files = Files(settings.data)
    database = settings.database
    if not database:
        if "://" in settings.data:
            raise InputError("expected `database` where `data` is a store of objects, found none")
        database = f"sqlite:///{settings.state.resolve() / 'jobs.sqlite'}"
    return Jobs(database), files


def deadline(seconds: float) -> float:
    """Return the time so many seconds from now."""
    return time.time() + seconds
