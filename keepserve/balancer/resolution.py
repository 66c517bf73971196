"""From what people wrote to settings that can be used: the one way settings come to be.

flag > environment > env-file > balancer preset > default, every value checked, then the ordering law.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from keepserve.balancer.ordering import check_ordering
from keepserve.balancer.presets import Preset, find_preset
from keepserve.config.conflicts import check_combinations, settle
from keepserve.config.durations import format_duration
from keepserve.config.envfile import EnvFile, read_env_file
from keepserve.config.problems import DEFAULT_ORIGIN, ConfigError, Origin, OriginKind, Problem
from keepserve.config.settings import DEFAULT_LB_IDLE_TIMEOUT, FIELDS_BY_NAME, Settings
from keepserve.config.sources import ENV_FILE_VARIABLE, Collected, collect

# What each computed setting is computed from: a bad value there makes the computed one meaningless.
_COMPUTED_FROM = {
    "lb_idle_timeout": ("lb",),
    "drain_delay": ("lb",),
    "keep_alive_timeout": ("lb_idle_timeout", "keep_alive_margin"),
    "headers_timeout": ("keep_alive_timeout", "request_head_timeout"),
    "ws_ping_interval": ("lb_idle_timeout",),
    "roll_idle": ("keep_alive_timeout",),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome of `resolve`.

    ``settings`` is always there, for display; it may be used only when ``problems`` is empty (`require`).
    ``origins`` has an entry for every setting. ``app_environment`` is what the env-file adds to the
    application's environment.
    """

    settings: Settings
    origins: dict[str, Origin]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    preset: Preset | None = None
    app_environment: dict[str, str] = field(default_factory=dict)

    def require(self) -> Settings:
        """The settings, if they can be used. Raises ConfigError with every problem otherwise."""
        if self.problems:
            raise ConfigError(self.problems)
        return self.settings


def load(options: Mapping[str, object], environ: Mapping[str, str], *, from_python: bool = False) -> Resolution:
    """Read the env-file that flag or environment name, if any, and `resolve` everything.

    Raises ConfigError when the env-file cannot be read or parsed.
    """
    path = options.get("env_file") or environ.get(ENV_FILE_VARIABLE)
    env_file = read_env_file(str(path)) if path else None
    return resolve(options, environ, env_file, from_python=from_python)


def resolve(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    env_file: EnvFile | None = None,
    *,
    from_python: bool = False,
) -> Resolution:
    """Turn options (by field name; None: not given), environment and env-file into settings.

    Pure and complete: every problem is reported at once. ``from_python`` says that the options are
    keyword arguments rather than flags, for the messages.
    """
    found = collect(options, environ, env_file, from_python=from_python)
    settle(found)
    preset = _apply_preset(found)
    settings = Settings(**_keywords(found.values))
    origins = {name: found.origins.get(name, _unwritten_origin(name)) for name in FIELDS_BY_NAME}

    tainted = set(found.bad)
    for name, sources in _COMPUTED_FROM.items():
        if name not in found.values and tainted.intersection(sources):
            tainted.add(name)
    for check in (check_ordering, check_combinations):
        problems, warnings = check(settings, origins)
        # What follows from a value that was not even readable is noise beside that problem.
        found.problems += [one for one in problems if not tainted.intersection(one.settings)]
        found.warnings += [one for one in warnings if not tainted.intersection(one.settings)]
    return Resolution(
        settings=settings,
        origins=origins,
        problems=found.problems,
        warnings=found.warnings,
        preset=preset,
        app_environment=env_file.additions(environ) if env_file is not None else {},
    )


def _keywords(values: Mapping[str, object]) -> dict[str, Any]:
    # The kinds have checked each value for its field; here the types are past what a checker can follow.
    return dict(values)


def _unwritten_origin(name: str) -> Origin:
    info = FIELDS_BY_NAME[name]
    if name not in ("lb_idle_timeout", "drain_delay") and info.formula:
        return Origin(OriginKind.DERIVED, info.formula)
    return DEFAULT_ORIGIN


def _apply_preset(found: Collected) -> Preset | None:
    """Let the named balancer set what nobody wrote; returns its preset."""
    name = found.values.get("lb")
    if not isinstance(name, str):
        return None
    try:
        preset = find_preset(name)
    except ValueError as error:
        found.problems.append(Problem(f"Bad value for lb ({found.origins['lb']}): {error}.", ("lb",)))
        found.bad.add("lb")
        return None
    found.values["lb"] = preset.name
    if preset.drain_delay and "drain_delay" not in found.values and "drain_delay" not in found.bad:
        found.values["drain_delay"] = preset.drain_delay
        found.origins["drain_delay"] = Origin(OriginKind.PRESET, preset.name)
    written = found.values.get("lb_idle_timeout")
    if written is not None:
        origin = found.origins["lb_idle_timeout"]
        if preset.fixed and preset.confirmed and written != preset.idle:
            found.warnings.append(
                Problem(
                    f"lb_idle_timeout ({_seconds(written)}, {origin}) contradicts {preset.title}, which "
                    f"keeps idle connections for {_seconds(preset.idle)} and cannot be changed. "
                    f"Leave --lb-idle-timeout out.",
                    ("lb", "lb_idle_timeout"),
                )
            )
        return preset
    if "lb_idle_timeout" in found.bad:
        return preset
    if preset.idle is None:
        found.warnings.append(
            Problem(
                f"{preset.title} (lb {preset.name}) gives us no idle timeout to outlast, so the clocks are "
                f"those for a {_seconds(DEFAULT_LB_IDLE_TIMEOUT)} balancer. {preset.note.rstrip('.')}. "
                "Set --lb-idle-timeout to say otherwise.",
                ("lb", "lb_idle_timeout"),
            )
        )
        return preset
    found.values["lb_idle_timeout"] = float(preset.idle)
    found.origins["lb_idle_timeout"] = Origin(OriginKind.PRESET, preset.name)
    if not preset.confirmed:
        found.warnings.append(
            Problem(
                f"The {_seconds(preset.idle)} idle timeout of {preset.title} (lb {preset.name}) is not "
                f"confirmed by its vendor. {preset.note} Check it, and set --lb-idle-timeout if it differs.",
                ("lb", "lb_idle_timeout"),
            )
        )
    return preset


def _seconds(value: object) -> str:
    return format_duration(value) if isinstance(value, int | float) else str(value)
