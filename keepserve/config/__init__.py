"""Settings: one dataclass, where its values come from, and what can be wrong with them."""

from keepserve.config.problems import ConfigError, Origin, OriginKind, Problem
from keepserve.config.settings import FIELDS_BY_NAME, GROUPS, Settings

__all__ = ["FIELDS_BY_NAME", "GROUPS", "ConfigError", "Origin", "OriginKind", "Problem", "Settings"]
