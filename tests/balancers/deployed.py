"""The files people are told to deploy, with nothing changed but places, ports, and clocks from minutes to seconds."""

from __future__ import annotations

from tests.support.serving import ROOT


def deployed(name: str, changes: dict[str, str]) -> str:
    """``deploy/<name>`` with each old text replaced by the new one, wherever it is.

    AssertionError if one of the old texts is not there: the file has changed, and what is tested would not be it.
    """
    text = (ROOT / "deploy" / name).read_text()
    for old, new in changes.items():
        assert old in text, f"deploy/{name} has no {old!r} any more; tell tests/balancers what is there now"
        text = text.replace(old, new)
    return text
