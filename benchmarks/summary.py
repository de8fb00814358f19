"""All figures that have an aim, in one table: what results/*.json say, and what they should.

    python benchmarks/summary.py

Results may be of different machines and versions: the last columns say of which. What no benchmark has measured is left
empty.
"""

import json
from collections.abc import Callable
from operator import ge, le
from typing import Any, NamedTuple

from measure import RESULTS, print_table


class Figure(NamedTuple):
    """What is measured, in which results, how to find it there, and what it should be at least or at most."""

    name: str
    results: str
    find: Callable[[Any], float]
    reached: Callable[[float, float], bool]
    aim: float


def _row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def _conversion(network: str, calibrate: str, key: str) -> Callable[[Any], float]:
    return lambda r: float(_row(r["conversions"], network=network, calibrate=calibrate)[key])


def _search(start: str) -> Callable[[Any], float]:
    return lambda r: float(next(row for row in r["searches"] if row["search"].startswith(start))["wall s beyond"])


def _to_the_ann(r: Any) -> float:
    # Against the faster of its modes.
    return float(max(r["one_thread"]["ratio_to_ann_by_mode"].values()))


def _early(network: str) -> Callable[[Any], float]:
    return lambda r: float(_row(r["early_exit"], network=network, timesteps=8)["early over all"])


def _one(network: str) -> Callable[[Any], float]:
    return lambda r: float(_row(r["batch_of_one"], network=network)["one over eight"])


def _page(network: str) -> Callable[[Any], float]:
    return lambda r: float(_row(r["one_picture"], network=network)["report, without Lava s"])


FIGURES = (
    Figure("simulator over the frozen ANN, VGG16, one thread", "simulator", _to_the_ann, le, 1.7),
    Figure("simulator, from one core to all: times faster", "simulator", lambda r: r["speed_up"]["simulator"], ge, 1.8),
    Figure("batch of one over eight, VGG16", "early_exit", _one("vgg16"), le, 1.5),
    Figure("batch of one over eight, ResNet-20", "early_exit", _one("resnet20"), le, 1.5),
    Figure("early exit over all timesteps, T = 8, VGG16", "early_exit", _early("vgg16"), le, 0.7),
    Figure("early exit over all timesteps, T = 8, ResNet-20", "early_exit", _early("resnet20"), le, 0.7),
    Figure("ResNet-18, one picture of 224x224 to the page, s", "cost", _page("resnet18_224"), le, 5),
    Figure("ResNet-50, one picture of 224x224 to the page, s", "cost", _page("resnet50_224"), le, 10),
    Figure(
        "conversion, ResNet-20, forward passes",
        "conversion",
        _conversion("resnet20", "advanced", "ratio_to_forward"),
        le,
        40,
    ),
    Figure(
        "conversion, ResNet-20, light, forward passes",
        "conversion",
        _conversion("resnet20", "light", "ratio_to_forward"),
        le,
        8,
    ),
    Figure(
        "conversion, VGG16, forward passes", "conversion", _conversion("vgg16", "advanced", "ratio_to_forward"), le, 40
    ),
    Figure("conversion, VGG16, s", "conversion", _conversion("vgg16", "advanced", "seconds"), le, 90),
    Figure("conversion, ResNet-44, s", "conversion", _conversion("resnet44", "advanced", "seconds"), le, 60),
    Figure("--search beyond the conversion, s", "search", _search("channels, --search"), le, 60),
    Figure("--compress beyond the conversion, s", "search", _search("channels, --compress"), le, 60),
    Figure("Lava, times faster than stock", "lava", lambda r: r["stock"]["ratio"], ge, 12),
    Figure("Lava, ResNet-20, 16 pictures, s in the worker", "lava", lambda r: r["resnet20"]["seconds"], le, 1.5),
    Figure("Lava, ResNet-18 at 224x224, one picture, s", "lava", lambda r: r["resnet18_224"]["seconds"], le, 8),
    Figure("memory of 1,000 pictures beyond 200, MiB", "memory", lambda r: r["growth_mib"], le, 40),
    Figure("workers, two: times faster", "workers", lambda r: r["evaluation"][2]["speed-up"], ge, 1.8),
    Figure("all benchmarks, minutes", "run", lambda r: r["wall s"] / 60, le, 20),
)


def summary() -> list[dict[str, Any]]:
    """Return a row for every figure; without results, or with those of an older form, it is not measured."""
    rows = []
    for figure in FIGURES:
        path = RESULTS / f"{figure.results}.json"
        result = json.loads(path.read_text()) if path.exists() else {"machine": {}}
        try:
            value = figure.find(result)
        except (KeyError, IndexError, StopIteration):
            value = None
        rows.append(
            {
                "figure": figure.name,
                "measured": value,
                "aim": f"{'at most' if figure.reached is le else 'at least'} {figure.aim:g}",
                "reached": "" if value is None else "yes" if figure.reached(value, figure.aim) else "no",
                "load": result["machine"].get("load_average"),
                "processor": result["machine"].get("processor", ""),
                "commit": result["machine"].get("commit") or "",
            }
        )
    return rows


def print_summary() -> None:
    """Print the table."""
    print_table("figures and aims", summary())


if __name__ == "__main__":
    print_summary()
