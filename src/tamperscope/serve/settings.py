"""What a service is allowed and where it keeps its things: a YAML file, the environment, the command line."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tamperscope.errors import InputError
from tamperscope.settings import wrong

PREFIX = "TAMPERSCOPE_SERVE_"
MIB = 2**20


class Key(BaseModel):
    """One who may use the service; only the hash of the key itself is known here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Shown in logs; jobs belong to it.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, hexadecimal.")
    per_minute: float | None = Field(default=None, gt=0, description="Instead of the service's own.")
    at_once: int | None = Field(default=None, gt=0, description="Instead of the service's own.")


class Settings(BaseModel):
    """Everything about a service that can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen at.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port; 0 takes a free one.")
    workers: int = Field(default=2, ge=1, description="Processes that scan.")
    worker_memory: int = Field(default=4 * 1024 * MIB, ge=0, description="Bytes that each may have; 0: no limit.")
    scan_seconds: float = Field(default=600.0, gt=0, description="Longest time for one file.")
    max_pixels: int = Field(default=200_000_000, gt=0, description="Largest picture.")
    body_bytes: int = Field(default=256 * MIB, gt=0, description="Largest request.")
    body_seconds: float = Field(default=120.0, gt=0, description="Longest time that a request's body may take.")
    wait_seconds: float = Field(default=30.0, ge=0, description="After so long an answer becomes 202 and a job.")
    queue: int = Field(default=64, ge=1, description="Jobs that may wait or run; more are refused with 503.")
    keys: tuple[Key, ...] = Field(default=(), description="Who may use it; required unless it listens at loopback.")
    per_minute: float = Field(default=120.0, gt=0, description="Scans a minute and key.")
    at_once: int = Field(default=16, gt=0, description="Unfinished scans a key.")
    data: str = Field(default="tamperscope-data", description="Folder or fsspec address for files of jobs.")
    database: str = Field(default="", description="SQLAlchemy address; empty: SQLite in the folder `data`.")
    keep_seconds: float = Field(default=0.0, ge=0, description="How long results are kept; 0: no longer than needed.")
    fetch_seconds: float = Field(default=3600.0, gt=0, description="How long the result of a 202 can be fetched.")
    grace_seconds: float = Field(default=30.0, ge=0, description="How long a shutdown waits for running scans.")
    hosts: tuple[str, ...] = Field(default=(), description="Host names it answers to; empty: any, at loopback its own.")
    signer: str = Field(default="", description="Private key that signs packs; empty: one is made in `data`.")
    urls: bool = Field(default=False, description="Whether pictures may be named by https address.")
    webhook_secret: str = Field(default="", description="Signs webhooks; empty: there are none.")
    network: bool = Field(default=True, description="Whether the shipped network is asked.")

    @property
    def state(self) -> Path:
        """Folder on this machine for what is the service's own: database, keys."""
        return Path("tamperscope-data" if "://" in self.data else self.data)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def load(file: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings: those given win over the environment, which wins over the file.

    Args:
        file: YAML with fields of `Settings`.
        given: Fields; None values are passed over.

    Raises:
        InputError: A field is unknown or has no such value, or the service would be open to everyone.
    """
    fields: dict[str, Any] = {}
    if file is not None:
        try:
            fields |= yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, TypeError) as error:
            raise InputError(f"--config {file}: expected YAML fields such as `port: 8000`: {error}") from error
    for name in Settings.model_fields:
        if (text := os.environ.get(PREFIX + name.upper())) is not None:
            fields[name] = text if isinstance(Settings.model_fields[name].default, str) else yaml.safe_load(text)
    fields |= {name: value for name, value in (given or {}).items() if value is not None}
    try:
        settings = Settings.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"settings of the service: {wrong(error)}") from error
    if not settings.keys and not settings.loopback:
        raise InputError(
            f"host {settings.host} can be reached from elsewhere: expected `keys`, found none; make one with "
            "`tamperscope serve-key NAME`, or listen at 127.0.0.1"
        )
    return settings


def hashed(key: str) -> str:
    """Return what the settings know of a key."""
    return hashlib.sha256(key.encode("utf-8")).hexdigest()
