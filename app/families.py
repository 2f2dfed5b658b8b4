"""Networks that differ in nothing but tau; plain functions, no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.figures import Point
from app.loaders import Model

#: The authors' CIFAR-10 network: accuracy and FLOPs as they published them.
AUTHORS = {
    ("cifar", "cifar10"): (
        Point("authors, published", "τ = 0.01", 82_393_168.0, 0.9182, line=False),
    ),
}


@dataclass(frozen=True)
class Family:
    """Checkpoints of one network, one data set, and several values of tau.

    Attributes
    ----------
    label : str
        As listed.
    models : tuple of Model
        Tau rising, one for each value.
    """

    label: str
    models: tuple[Model, ...]

    @property
    def taus(self) -> list[float]:
        """Their values of tau."""
        return [model.tau for model in self.models if model.tau is not None]


def families(models: list[Model]) -> list[Family]:
    """Sort checkpoints into families, the largest first.

    A checkpoint without halting or without a known tau belongs to none.
    """
    found: dict[tuple[object, ...], dict[float, Model]] = {}
    for model in models:
        if model.config.halting == "none" or model.tau is None:
            continue
        found.setdefault(_kind(model), {}).setdefault(model.tau, model)
    made = []
    for (config, data, _), members in found.items():
        label = f"{config.name} on {data}"  # type: ignore[attr-defined]
        made.append(Family(label, tuple(members[tau] for tau in sorted(members))))
    return sorted(made, key=lambda family: (-len(family.models), family.label))


def points(family: Family, models: list[Model]) -> list[Point]:
    """The family, its static baselines, its relatives and the authors' figures.

    Only checkpoints that say how accurate they are, of the same family of
    networks and the same data set.
    """
    first = family.models[0]
    found = [_point(model, family.label, f"τ = {model.tau:g}") for model in family.models]
    for model in models:
        same = model.config.family == first.config.family and _data(model) == _data(first)
        if not same or model in family.models:
            continue
        if model.config.halting == "none":
            found.append(_point(model, "static", model.config.name, line=False))
        elif model.tau is not None:
            group = f"{model.config.name} on {_data(model)}"
            if group != family.label:
                found.append(_point(model, group, f"τ = {model.tau:g}"))
    known = [point for point in found if point is not None]
    return known + list(AUTHORS.get((first.config.family, _data(first)), ()))


def _point(model: Model, group: str, label: str, line: bool = True) -> Point | None:
    metrics = model.header.provenance.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    values = [metrics.get(k) for k in ("Total Flops/mean", "eval/Accuracy", "Total Flops/std")]
    flops, accuracy, std = (v if isinstance(v, int | float) else None for v in values)
    if flops is None or accuracy is None:
        return None
    return Point(group, label, float(flops), float(accuracy), float(std or 0), line)


def _kind(model: Model) -> tuple[object, ...]:
    # What decides a network's shape; the bias that halting started from does not.
    config = replace(model.config, halting_bias=0.0)
    return config, _data(model), model.header.preprocessing


def _data(model: Model) -> str:
    data = model.header.provenance.get("data_set")
    name = data.get("name") if isinstance(data, dict) else None
    return str(name) if name else "unknown data"
