"""Networks that differ in nothing but tau; plain functions, no Streamlit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app import stated
from app.figures import Point
from app.records import Model
from app.texts import short

#: Characters of a title.
MAX_TITLE = 160
#: What the authors' points are called.
PUBLISHED = "authors, published"
#: The authors' CIFAR-10 network: accuracy and FLOPs as they published them.
AUTHORS = {
    ("cifar", "cifar10"): (Point(PUBLISHED, "τ = 0.01", 82_393_168.0, 0.9182, line=False),),
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
    def kind(self) -> str:
        """``"photographs"`` or ``"small"`` images."""
        return self.models[0].config.facts.images

    @property
    def any_tau(self) -> bool:
        """Whether it is one network that takes any tau."""
        return self.models[0].tau_range is not None

    @property
    def taus(self) -> list[float]:
        """Their values of tau."""
        return [model.tau for model in self.models if model.tau is not None]


def families(models: list[Model]) -> list[Family]:
    """Sort checkpoints into families: those for photographs first, the largest first.

    A checkpoint without halting or without a known tau belongs to none. Families
    of one name are told apart by the size of their images.
    """
    found: dict[tuple[object, ...], dict[float, Model]] = {}
    for model in models:
        if not model.config.halts or model.tau is None or model.tau_range is not None:
            continue
        found.setdefault(_kind(model), {}).setdefault(model.tau, model)
    made: list[Family] = []
    labels = [_label(next(iter(members.values()))) for members in found.values()]
    for label, members in zip(labels, found.values(), strict=True):
        first = next(iter(members.values()))
        if labels.count(label) > 1:
            label += f" at {first.header.preprocessing.image_size} pixels"
        again = sum(family.label.startswith(label) for family in made)
        label += f" ({again + 1})" if again else ""
        made.append(Family(label, tuple(members[tau] for tau in sorted(members))))
    return sorted(made, key=lambda f: (f.kind != "photographs", -len(f.models), f.label))


def any_tau(models: list[Model]) -> list[Family]:
    """Networks that take any tau, each as a family of its own."""
    return [Family(_label(model), (model,)) for model in models if model.tau_range is not None]


def specialists(model: Model, models: list[Model]) -> tuple[Model, ...]:
    """Checkpoints of the same network trained for one tau each, tau rising."""
    return next((f.models for f in families(models) if _kind(f.models[0]) == _kind(model)), ())


def curve(model: Model) -> list[Point]:
    """What a network that takes any tau was measured to do over its range."""
    found = []
    for row in stated.curve(model):
        flops, accuracy = row.get("Total Flops/mean"), row.get("eval/Accuracy")
        if flops is not None and accuracy is not None:
            std = row.get("Total Flops/std", 0.0)
            tau = f"{row['tau']:.2g}"
            found.append(Point(_label(model), f"τ = {tau}", flops, accuracy, std, short=tau))
    return found


def resized(model: Model) -> list[Point]:
    """What a network was measured to do on images of other sizes: the rival that costs nothing."""
    found = []
    for row in stated.sizes(model):
        flops, accuracy = row.get("Total Flops/mean"), row.get("eval/Accuracy")
        if flops is not None and accuracy is not None:
            side = f"{row['image_size']:.0f} px"
            group = f"{_name(model).rstrip(',')}, other image sizes"
            found.append(Point(group, side, flops, accuracy, short=side))
    return found


def points(family: Family, models: list[Model]) -> list[Point]:
    """The family, its static baselines, its relatives and the authors' figures.

    Only checkpoints that say how accurate they are, of the same family of
    networks and the same data set.
    """
    found: list[Point | None] = []
    for model in family.models:
        found += curve(model) if model.tau_range else [_point(model, family.label, model.tau)]
    found = [point and replace(point, group=f"{family.label}, by τ") for point in found]
    groups = {m.digest: f.label for f in families(models) for m in f.models}
    first = family.models[0]
    for model in shown_models(family, models)[len(family.models) :]:
        if model.tau_range is not None:
            found += curve(model)
        elif not model.config.halts:
            found.append(_point(model, f"static {model.config.name.split('-')[0]}", None))
            found += resized(model)
        elif model.digest in groups:
            found.append(_point(model, groups[model.digest], model.tau))
    known = [point for point in found if point is not None]
    return known + list(AUTHORS.get((first.config.family, _data(first)), ()))


def shown_models(family: Family, models: list[Model]) -> list[Model]:
    """The networks that `points` tells of, the family's first."""
    first = family.models[0]
    same = (
        model
        for model in models
        if model.config.family == first.config.family and _data(model) == _data(first)
    )
    return [*family.models, *(model for model in same if model not in family.models)]


def _point(model: Model, group: str, tau: float | None) -> Point | None:
    """The network as its provenance has it, joined where it has a tau; None if it has not."""
    metrics = model.header.provenance.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    values = [metrics.get(k) for k in ("Total Flops/mean", "eval/Accuracy", "Total Flops/std")]
    flops, accuracy, std = (v if isinstance(v, int | float) else None for v in values)
    if flops is None or accuracy is None:
        return None
    short = _name(model).rstrip(",").removeprefix("ResNet-") if tau is None else f"{tau:g}"
    label = _name(model).rstrip(",") if tau is None else f"τ = {tau:g}"
    joined = tau is not None
    return Point(group, label, float(flops), float(accuracy), float(std or 0), joined, short)


def title(model: Model) -> str:
    """What a network is called on every page: what it is, its tau, its data set."""
    name, data = _name(model), _data(model)
    if model.tau is not None and model.tau_range is None and model.config.halts:
        name = f"{name.rstrip(',')}, τ = {model.tau:g},"
    return name.rstrip(",") if data == "unknown data" else f"{name} on {_data_title(model)}"


def alike(model: Model, other: Model) -> int:
    """How much two networks have in common, from 0 to 3: their data set, then their family."""
    return 2 * (_data(other) == _data(model)) + (other.config.family == model.config.family)


def _label(model: Model) -> str:
    return f"{_name(model)} on {_data_title(model)}"


def _name(model: Model) -> str:
    """Name of a network, with its width where that is not the authors'."""
    name = model.config.title
    return f"{name}," if "," in name else name


def _kind(model: Model) -> tuple[object, ...]:
    # What decides a network's shape; the bias that halting started from does not.
    config = replace(model.config.unconditioned, halting_bias=0.0)
    return config, _data(model), model.header.preprocessing


def titles(models: Mapping[str, Model | None]) -> dict[str, str]:
    """Titles of listed networks by their names; the name too, where a title is not enough.

    Parameters
    ----------
    models : mapping of str to Model or None
        None where the file cannot be read.
    """
    found = {name: name if model is None else title(model) for name, model in models.items()}
    often = Counter(found.values())
    return {
        name: short(f"{shown} ({name})" if often[shown] > 1 else shown, MAX_TITLE)
        for name, shown in found.items()
    }


def _data_title(model: Model) -> str:
    name, *note = _data(model).split(" ", 1)
    return " ".join([stated.TITLES.get(name, name), *note])


def _data(model: Model) -> str:
    data = model.header.provenance.get("data_set")
    name, note = (data.get(k) if isinstance(data, dict) else None for k in ("name", "note"))
    if not name:
        return "unknown data"
    # Other images of the same data set, such as JPEG copies, compare with nothing.
    return short(f"{name} ({note})") if note else short(name)
