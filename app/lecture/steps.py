"""The stations of the guided path, and the links to them; plain functions, no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.records import Model


@dataclass(frozen=True)
class Step:
    """One station: a page as a link shows it, and what to do there.

    Attributes
    ----------
    title : str
        In a few words.
    page : str
        Name of the page.
    minutes : float
        That it takes.
    do, see : str
        A sentence each, as Markdown: what to do and what comes of it.
    more : str
        What to tell beside it, as Markdown.
    settings : mapping of str to str
        Of the page, as its link holds them, by what follows the page's name.
    taus : mapping of str to str
        The same, where the network takes any tau.
    networks : tuple of str
        Settings that name the network, where there is one to name.
    look_at : str
        Key of the part of the page that is meant; its top where empty.
    """

    title: str
    page: str
    minutes: float
    do: str
    see: str
    more: str
    settings: Mapping[str, str] = field(default_factory=dict)
    taus: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    look_at: str = ""


STEPS = (
    Step(
        title="What a residual unit is",
        page="start",
        minutes=1,
        do="Follow the arrows: one way through the convolutions, one around them.",
        see="A unit only **adds** to what came in, so any number of them can be left out.",
        more="A plain network needs every layer, since each reads only the one before. In a "
        "residual network the features *x* go on as they are, and each unit makes them a little "
        "better. That is why computation can stop after any unit. Ask: what comes out if a unit's "
        "convolutions give 0?",
    ),
    Step(
        title="Not all positions need all units",
        page="explore",
        minutes=1.5,
        do="Click the wood of the table, then the cup. Look under “Why did it stop there?”.",
        see="Wood stops after few units; the cup goes on. Bright is where it thinks most.",
        more="After every unit each position gives a halting score; it stops when its scores add "
        "up to 1 − ε. Nobody told the network what a cup is worth: it learned where thinking "
        "longer helps its answer. Squares are positions of late blocks, which stand for large "
        "patches of the image.",
        settings={"image": "Coffee", "row": "60", "column": "20"},
        taus={"tau": "0.2"},
        networks=("checkpoint",),
        look_at="explore_map",
    ),
    Step(
        title="Move a score",
        page="halting_lab",
        minutes=1.5,
        do="Drag the score after unit 2 from 0.3 up to 0.9.",
        see="The ponder cost falls smoothly from 3.6; where the sum reaches 0.99, units run fall "
        "from 3 to 2.",
        more="The count of units is a staircase, which training cannot climb down. Units + "
        "remainder, the ponder cost, falls as the score rises, so training can follow it. Step "
        "through the rule below, unit by unit. Ask: with which scores does a position stop after "
        "one unit? Why has the last unit no score?",
        settings={
            "scores": "0.1 0.3 0.7 0.5 ; 0.05 0.1 0.2 0.3 ; 0.6 0.5 0.2 0.1 ; 0.995 0.4 0.3 0.2"
        },
        look_at="halting_lab_rule",
    ),
    Step(
        title="Watch a photograph",
        page="explore",
        minutes=1.5,
        do="Press Play, or drag the unit.",
        see="In colour, the positions that still work. Block by block they go dark from the "
        "background inwards.",
        more="Every block begins with all positions and decides anew. A position that has stopped "
        "costs nothing more, but its neighbours still read its value. Put a photograph of your "
        "own in with “Add” at the top and watch it.",
        settings={"image": "Cat", "unit": "1"},
        taus={"tau": "0.2"},
        networks=("checkpoint",),
        look_at="explore_film_map",
    ),
    Step(
        title="Change the price",
        page="sweep",
        minutes=1,
        do="Drag τ from left to right.",
        see="The map goes dark and FLOPs fall, long before the answer changes.",
        more="τ is the price of a unit in training. This is one network that was trained for a "
        "whole range of prices; other networks of this kind are trained for one. Below: the same "
        "trade over a whole test set, beside networks that do without halting.",
        settings={"image": "Coffee"},
        taus={"price": "0.02"},
        look_at="sweep_dial",
    ),
    Step(
        title="What it costs",
        page="flops",
        minutes=1,
        do="Click a block of the picture, then a unit; the bar on top leads back.",
        see="Area is what a part costs if all of it runs, colour how much of that did run.",
        more="A block's first unit always runs everywhere; what is saved is in the later ones. "
        "Each unit's small halting branch is counted too. Two FLOPs are one multiply-add; “Count” "
        "at the top switches. PyTorch's own counter, below, gives the same number.",
        settings={"image": "Coffee"},
        taus={"tau": "0.2"},
        networks=("checkpoint",),
        look_at="flops_tree",
    ),
    Step(
        title="What the masks cost",
        page="flops",
        minutes=1.5,
        do="Compare, unit by unit, the bars with the orange line: FLOPs with milliseconds.",
        see="Equal FLOPs do not take equal time: finding and gathering positions takes its own.",
        more="A dense convolution is what processors and libraries are best at. The masked engine "
        "gathers active positions, multiplies, and puts them back, and computes a ring of "
        "neighbours besides. Whether it pays depends on the machine, the batch and how many "
        "positions stop; “Measure it on this machine” below takes a minute or two.",
        settings={"image": "Coffee"},
        taus={"tau": "0.2"},
        networks=("checkpoint",),
        look_at="flops_units",
    ),
    Step(
        title="Where it fails",
        page="compare",
        minutes=1,
        do="Read what the same network says of one rocket at two prices.",
        see="Two answers, both wrong. Thinking longer cannot mend what it never learned.",
        more="Cost hardly follows difficulty: on CIFAR-10, images that are answered wrong get 2 % "
        "more FLOPs than those that are right. And a static network of fewer units can answer as "
        "well at equal FLOPs: `docs/adaptivity.md` says what was measured. "
        "Ask: what would you want a network to know before it stops?",
        settings={"count": "2", "image": "Rocket"},
        taus={"tau_1": "0.05", "tau_2": "0.3"},
        networks=("checkpoint_1", "checkpoint_2"),
        look_at="compare_table",
    ),
)
MINUTES = round(sum(step.minutes for step in STEPS))


def query(number: int, model: Model | None, presented: bool = False) -> dict[str, str]:
    """What stands in the link to a step, besides its page.

    Parameters
    ----------
    number : int
        Of the step, from 1.
    model : Model, optional
        The network that the path shows; a page takes its own without.
    presented : bool
        Whether the link goes on presenting.
    """
    step = STEPS[number - 1]
    found = {"lecture": str(number)} | ({"present": "true"} if presented else {})
    settings = dict(step.settings)
    if model is not None:
        any_tau = model.tau_range is not None
        # Two of a network for one tau would be the same twice.
        if any_tau or len(step.networks) == 1:
            settings |= dict.fromkeys(step.networks, model.name)
        settings |= {
            name: tau
            for name, tau in step.taus.items()
            if model.tau_range is not None
            and model.tau_range[0] <= float(tau) <= model.tau_range[1]
        }
    return found | {f"{step.page}_{name}": value for name, value in settings.items()}


def asked(value: str | None, page: str) -> int | None:
    """Number of the step that a link asks for; None where it is none of this page."""
    number = int(value) if value is not None and value.isascii() and value.isdigit() else 0
    here = 1 <= number <= len(STEPS) and STEPS[number - 1].page == page
    return number if here else None
