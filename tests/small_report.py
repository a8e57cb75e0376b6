"""A report of a notebook, as `report.json` holds it."""


def report(notebook, models, *, simulated=True, ceiling=None, figures=()):
    """A report with a score by model, of an interval that reaches from 1 below to 2 above."""
    scores = {
        name: {
            "rows": 40,
            "seconds": 1.5,
            "gates": {
                "0.2": {
                    "score_per_60": score,
                    "interval_per_60": [score - 1, score + 2],
                    "w": 2 * score,
                    "wcos": 0.5,
                }
            },
        }
        for name, score in models.items()
    }
    data = {"folder": "twin-quick", "hash": "ab" * 32, "simulated": simulated}
    return {
        "notebook": notebook,
        "seed": 0,
        "budget": "quick",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 12.3,
        "peak_memory_mb": 300,
        "versions": {"numpy": "2.0.2"},
        "models": scores,
        "ceiling": ceiling and {"0.2": {"score_per_60": ceiling, "interval_per_60": [1.5, 40.0]}},
        "data": data,
        "figures": list(figures),
        "submission": {"file": None, "model": None},
    }
