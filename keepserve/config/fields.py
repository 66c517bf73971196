"""How one setting is declared, and the list of all of them.

A setting is a field of `Settings` made by `setting(...)`: its doc sentence, group, kind and constraint
travel in the field's metadata. Flag, environment names, help text, README table, ``keepserve check``
and the checks themselves are read from here, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from keepserve.config.kinds import Flag, Kind

ENV_PREFIX = "KEEPSERVE_"
_KEY = "keepserve"


@dataclass(frozen=True, slots=True)
class Info:
    """What a field's metadata says. ``name`` is filled in by `describe`.

    ``doc``: one sentence. ``zero``: what 0 means, when it is special. ``minimum``/``maximum``:
    inclusive; ``positive`` excludes 0. ``formula``: how the default is computed when it is not a
    constant. ``also_env``: environment names honoured after the KEEPSERVE_ one. ``secret``: never shown.
    """

    doc: str
    group: str
    kind: Kind
    name: str = ""
    default: object = None
    unit: str = ""
    zero: str = ""
    minimum: float | None = None
    maximum: float | None = None
    positive: bool = False
    formula: str = ""
    unset: str = ""
    also_env: tuple[str, ...] = ()
    secret: bool = False

    @property
    def flag(self) -> str:
        """The option as typed: ``--keep-alive-timeout``. The application is an argument, ``APP``."""
        return "APP" if self.name == "app" else "--" + self.name.replace("_", "-")

    @property
    def negative_flag(self) -> str:
        """The option that says no: ``--no-access-log``."""
        return "--no-" + self.name.replace("_", "-")

    @property
    def env(self) -> str:
        """The environment variable: ``KEEPSERVE_KEEP_ALIVE_TIMEOUT``."""
        return ENV_PREFIX + self.name.upper()

    @property
    def envs(self) -> tuple[str, ...]:
        """Every environment variable honoured, strongest first."""
        return (self.env, *self.also_env)

    @property
    def counts(self) -> str:
        """What a bare number counts: ``seconds``, ``requests``; empty for everything else."""
        return self.unit or self.kind.unit

    @property
    def boolean(self) -> bool:
        """True for yes/no settings, whose flags come as ``--x/--no-x``."""
        return isinstance(self.kind, Flag)

    @property
    def default_text(self) -> str:
        """The default for a person: a value, a formula, or what being unset means."""
        if self.formula:
            return self.formula
        if self.default in (None, (), ""):
            return self.unset
        return self.show(self.default)

    def show(self, value: object) -> str:
        """A value of this setting for a person; secrets stay hidden, a special 0 is explained."""
        if self.secret and value is not None:
            return "(hidden)"
        if value == 0 and self.zero and not isinstance(value, bool):
            return f"0 ({self.zero})"
        return self.kind.show(value)

    def check(self, value: object) -> object:
        """Convert a value and hold it against the bounds. Raises ValueError with a sentence."""
        value = self.kind.convert(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.positive and value <= 0:
                raise ValueError(f"{self.kind.show(value)} is too small: it must be more than 0")
            if self.minimum is not None and value < self.minimum:
                raise ValueError(f"{self.kind.show(value)} is too small: at least {self._bound(self.minimum)}")
            if self.maximum is not None and value > self.maximum:
                raise ValueError(f"{self.kind.show(value)} is too large: at most {self._bound(self.maximum)}")
        return value

    def _bound(self, bound: float) -> str:
        return self.kind.show(int(bound) if bound == int(bound) else bound)


def setting(doc: str, group: str, kind: Kind, default: Any, **more: Any) -> Any:
    """Declare one setting: ``name: type = setting("Sentence.", GROUP, KIND, default, ...)``.

    Further keywords are those of `Info`. A default of NaN means computed from other settings in
    ``Settings.__post_init__``; ``formula`` then says how.
    """
    info = Info(doc=doc, group=group, kind=kind, default=default, **more)
    return dataclasses.field(default=default, repr=not info.secret, metadata={_KEY: info})


def describe(settings: type[Any]) -> dict[str, Info]:
    """Every setting of a settings class by name, in the order of declaration."""
    return {
        field.name: dataclasses.replace(field.metadata[_KEY], name=field.name)
        for field in dataclasses.fields(settings)
    }


def is_derived(value: object) -> bool:
    """True for the NaN that stands for "compute me from the others"."""
    return isinstance(value, float) and math.isnan(value)
