"""Where the servers live: a virtual environment for each, made once and kept.

Each has its own, so that one that cannot be installed, or wants another version of something, is alone with that.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import ROOT, Unavailable

COMMON = ("fastapi>=0.115", "uvloop>=0.23")
"""What every environment gets: the framework of the JSON scenario, and the loop all servers run on."""

_MARK = "versions.json"


@dataclass(frozen=True)
class Package:
    """What to install. The first of the ``alternatives`` that can be installed is taken."""

    name: str
    alternatives: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the versions in it by lower-case name."""

    directory: Path
    versions: dict[str, str]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return self.script("python")

    def script(self, name: str) -> str:
        """A program that a package brought along."""
        return str(self.directory / "bin" / name)


def default_place() -> Path:
    """The directory of all environments unless one is named: in the user's cache (XDG_CACHE_HOME)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keepserve-bench"


def directory_name(package: Package, python: str, extra: str = "") -> str:
    """Name the environment of a package by all that decides what is in it."""
    wanted = json.dumps([package.alternatives, COMMON, extra])
    return f"{package.name}-{python}-{hashlib.sha256(wanted.encode()).hexdigest()[:10]}"


class Environments:
    """Makes them when asked for, below ``place``; ``update`` makes them anew, with what is newest today."""

    def __init__(self, place: Path, announce: Callable[[str], None], *, update: bool = False) -> None:
        self._place = place
        self._announce = announce
        self._update = update
        self._made: dict[str, Environment | Unavailable] = {}

    def ready(self, package: Package) -> Environment:
        """Return a package's environment; raise ``Unavailable`` with pip's reason when it cannot be installed."""
        if package.name not in self._made:
            try:
                self._made[package.name] = self._make(package)
            except Unavailable as error:
                self._made[package.name] = error
        made = self._made[package.name]
        if isinstance(made, Unavailable):
            raise made
        return made

    def _make(self, package: Package) -> Environment:
        # Two builds of one version are two interpreters.
        extra = sys.base_prefix + _own_extra(package)
        directory = self._place / directory_name(package, platform.python_version(), extra)
        mark = directory / _MARK
        if mark.exists() and not self._update:
            return Environment(directory, json.loads(mark.read_text()))
        self._announce(f"Installing {package.name} into {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(directory)])
        python = str(directory / "bin" / "python")
        for requirements in package.alternatives:
            failed = _install(python, [*requirements, *COMMON])
            if not failed:
                break
        else:
            raise Unavailable(f"pip install {' '.join(package.alternatives[-1])} failed: {failed}")
        versions = _installed(python)
        mark.write_text(json.dumps(versions, indent=1))
        return Environment(directory, versions)


def _own_extra(package: Package) -> str:
    """What else decides the environment of a tree that is installed in place: where it is, and what it needs."""
    if not any("-e" in requirements for requirements in package.alternatives):
        return ""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return json.dumps([str(ROOT), project["dependencies"]])


def _install(python: str, requirements: list[str]) -> str:
    """Install; return what pip complained of, or nothing."""
    try:
        _run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
    except Unavailable as error:
        return str(error)
    return ""


def _installed(python: str) -> dict[str, str]:
    told = _run([python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"])
    return {entry["name"].lower(): entry["version"] for entry in json.loads(told)}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.startswith("ERROR")]
        raise Unavailable((lines or done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()[:200])
    return done.stdout
