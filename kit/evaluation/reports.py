"""What a `report.json` must hold to be shown: it may come from another person's notebook.

Names of files must lie in the report's own folder, or a page would show what lies elsewhere.
"""

import json
from pathlib import PurePath, PureWindowsPath

from ..io.files import InputError, read_json


def _text(value):
    return isinstance(value, str)


def _truth(value):
    return isinstance(value, bool)


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _count(value):
    return _number(value) and value >= 1


def _mapping(value):
    return isinstance(value, dict)


def _own_file(value):
    """Whether a name is that of a file beside the report, on any system."""
    bare = _text(value) and value not in ("", ".", "..")
    return bare and PurePath(value).name == PureWindowsPath(value).name == value


MAY_LACK = ("ceiling", "figures", "predictions")
# A tuple: or null. A list of one: any number of them. `*`: under any name.
SCORE = {"score_per_60": _number, "w": _number, "wcos": _number, "interval_per_60": [_number] * 2}
MODEL = {"rows": _count, "seconds": _number, "gates": {"0.2": SCORE}}
WANTED = {
    "notebook": _own_file,
    "seed": _number,
    "budget": _text,
    "started": _text,
    "seconds": _number,
    "peak_memory_mb": (_number,),
    "versions": {"*": _text},
    "data": {"folder": _text, "hash": _text, "simulated": _truth},
    "models": {"*": MODEL},
    "ceiling": ({"0.2": {"score_per_60": _number}},),
    "figures": [{"file": _own_file, "title": _text}],
    "predictions": (_mapping,),
    "submission": {"file": (_own_file,), "model": (_text,)},
}


def read_report(path):
    """A run's report; InputError, naming the first place, where it is not what a run writes."""
    report = read_json(path)
    if (fault := _fault(report, WANTED, "")) is not None:
        place, value = fault[0].lstrip(".") or "all of it", json.dumps(fault[1])[:40]
        raise InputError(
            f"{path} is not a report of a run: `{place}` is {value}; run its notebook again"
        )
    return report


def _fault(value, want, place):
    """The first place, and the value there, that is not as wanted, or None."""
    if isinstance(want, tuple):
        return None if value is None else _fault(value, want[0], place)
    if isinstance(want, dict) and isinstance(value, dict):
        if lost := [name for name in want if name not in (*value, "*", *MAY_LACK)]:
            return f"{place}.{lost[0]}", None
        inner = [
            (part, want.get(name, want.get("*")), f"{place}.{name}")
            for name, part in value.items()
            if name in want or "*" in want
        ]
    elif isinstance(want, list) and isinstance(value, list) and len(want) in (1, len(value)):
        wants = want if len(want) > 1 else want * len(value)
        inner = [(*pair, f"{place}.{i}") for i, pair in enumerate(zip(value, wants, strict=True))]
    else:
        return None if callable(want) and want(value) else (place, value)
    return next((fault for each in inner if (fault := _fault(*each))), None)
