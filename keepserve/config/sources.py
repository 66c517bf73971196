"""Collecting settings from where they were written: flags, environment, env-file.

The one place that knows the order: flag (or keyword argument), then the environment, then the env-file;
within each, ``KEEPSERVE_X`` before the names shared with other servers (``PORT``, ``WEB_CONCURRENCY``).
Pure: the environment and the parsed env-file come in as mappings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from keepserve.config.envfile import EnvFile
from keepserve.config.fields import ENV_PREFIX, Info
from keepserve.config.foreign import INSTEAD
from keepserve.config.problems import Origin, OriginKind, Problem
from keepserve.config.settings import FIELDS_BY_NAME

ENV_FILE_VARIABLE = FIELDS_BY_NAME["env_file"].env


@dataclass(slots=True)
class Collected:
    """What was found: checked values and their origins by setting, and what is wrong.

    ``bad`` names settings whose value could not be used; they are absent from ``values``.
    """

    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)


def collect(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    env_file: EnvFile | None = None,
    *,
    from_python: bool = False,
) -> Collected:
    """Gather every setting somebody wrote down, each from its strongest source.

    ``options`` are flags by field name (or keyword arguments, ``from_python=True``); None means not given.
    An empty environment variable counts as not set, because ``PORT=${PORT:-}`` is how it is often passed.
    """
    found = Collected()
    for name in options:
        if name not in FIELDS_BY_NAME:
            instead = INSTEAD.get("--" + name.replace("_", "-"))
            hint = f": {instead}." if instead else _did_you_mean(name, FIELDS_BY_NAME)
            found.problems.append(Problem(f"There is no setting {name}{hint}"))
    for name, info in FIELDS_BY_NAME.items():
        written = _strongest(info, options, environ, env_file, from_python)
        if written is None:
            continue
        value, origin = written
        try:
            found.values[name] = info.check(value)
        except ValueError as error:
            found.bad.add(name)
            found.problems.append(Problem(f"Bad value for {name} ({origin}): {_printable(error)}.", (name,)))
        found.origins[name] = origin
    found.warnings += _unknown_names(environ, env_file)
    return found


def _strongest(
    info: Info,
    options: Mapping[str, object],
    environ: Mapping[str, str],
    env_file: EnvFile | None,
    from_python: bool,
) -> tuple[object, Origin] | None:
    value = options.get(info.name)
    if value is not None and value != ():
        if info.name == "app":
            return value, Origin(OriginKind.ARGUMENT, "APP")
        if from_python:
            return value, Origin(OriginKind.ARGUMENT, f"{info.name}=")
        negative = info.boolean and value is False
        return value, Origin(OriginKind.FLAG, info.negative_flag if negative else info.flag)
    for variable in info.envs:
        if environ.get(variable):
            return environ[variable], Origin(OriginKind.ENV, variable)
    # An env-file that names an env-file would be read too late to matter.
    if env_file is not None and info.name != "env_file":
        for variable in info.envs:
            entry = env_file.entries.get(variable)
            if entry is not None and entry.value:
                return entry.value, Origin(OriginKind.FILE, f"{env_file.path}:{entry.line}")
    return None


def _unknown_names(environ: Mapping[str, str], env_file: EnvFile | None) -> list[Problem]:
    """Warnings for KEEPSERVE_ names that are no setting: a typo there is silent otherwise."""
    known = {info.env for info in FIELDS_BY_NAME.values()}
    places = dict.fromkeys(environ, "the environment")
    if env_file is not None:
        places |= {name: f"{env_file.path}:{entry.line}" for name, entry in env_file.entries.items()}
    warnings = [
        Problem(f"{name} ({place}) is no setting of keepserve and has no effect{_did_you_mean(name, known)}")
        for name, place in sorted(places.items())
        if name.startswith(ENV_PREFIX) and name not in known
    ]
    if env_file is not None and ENV_FILE_VARIABLE in env_file.entries:
        line = env_file.entries[ENV_FILE_VARIABLE].line
        warnings.append(Problem(f"{ENV_FILE_VARIABLE} ({env_file.path}:{line}) has no effect inside an env-file."))
    return warnings


def _printable(error: ValueError) -> str:
    # What somebody typed is quoted in the sentence; a stray newline or escape must not break the message.
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(error))


def _did_you_mean(name: str, known: Mapping[str, object] | set[str]) -> str:
    near = get_close_matches(name, list(known), 1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else "."
