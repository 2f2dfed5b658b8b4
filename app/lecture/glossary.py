"""What the words mean, each said once; plain functions, no Streamlit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word and what it means.

    Attributes
    ----------
    name : str
        As pages write it.
    meaning : str
        One sentence or two, as Markdown.
    topic : str
        One of `TOPICS`.
    """

    name: str
    meaning: str
    topic: str


TOPICS = ("The network", "The halting rule", "What it costs", "What is measured")
_NETWORK, _RULE, _COST, _MEASURED = TOPICS

#: Every term, in the order in which they are read.
TERMS = {
    "residual unit": Term(
        "residual unit",
        "A few convolutions whose result is **added** to what came in: *x + f(x)*. A unit that "
        "is left out leaves *x* as it was, so the next one can still read it.",
        _NETWORK,
    ),
    "block": Term(
        "block",
        "Some residual units in a row that work at one resolution. Between blocks the feature map "
        "gets smaller. Halting is decided anew in every block.",
        _NETWORK,
    ),
    "position": Term(
        "position",
        "A place of a feature map: a row and a column. In a late block one position stands for a "
        "larger patch of the image.",
        _NETWORK,
    ),
    "SACT": Term(
        "SACT",
        "Spatially adaptive computation time: **every position** of an image decides after how "
        "many units of a block to stop.",
        _NETWORK,
    ),
    "ACT": Term(
        "ACT",
        "Adaptive computation time: the same rule, decided once for the **whole image**.",
        _NETWORK,
    ),
    "halting score": Term(
        "halting score",
        "A number between 0 and 1 that a position gives after every unit but the last. A small "
        "branch of the network, trained with it, computes it from the features.",
        _RULE,
    ),
    "ε": Term(
        "ε",
        "The slack of the rule: a position stops as soon as its halting scores add up to 1 − ε, "
        "usually 0.99. Without it a position could stop after one unit only if its score were "
        "exactly 1.",
        _RULE,
    ),
    "active": Term(
        "active",
        "A position that has not stopped yet. One that has keeps its value, and its neighbours "
        "go on reading it.",
        _RULE,
    ),
    "remainder": Term(
        "remainder",
        "What was missing to 1 before the unit that stopped a position. It is the weight of that "
        "unit's output, and the part of the ponder cost that training can push down smoothly.",
        _RULE,
    ),
    "halting distribution": Term(
        "halting distribution",
        "The weights of the units' outputs: the halting scores, and the remainder for the last "
        "unit that ran. They add up to 1; what leaves the block is the weighted sum. Networks may "
        "be trained to hand on the last output instead.",
        _RULE,
    ),
    "ponder cost": Term(
        "ponder cost",
        "Units run + remainder, for every position: what training makes small. In a block it lies "
        "between 2 and one more than the block's units.",
        _RULE,
    ),
    "ponder map": Term(
        "ponder map",
        "An image of the ponder cost, or of the units run, at every position: bright where the "
        "network took the most thought.",
        _RULE,
    ),
    "τ": Term(
        "τ",
        "Tau, the price of a unit: how much ponder cost counts in training beside mistakes. More "
        "τ, and positions stop sooner: less work, and at some point less accuracy.",
        _COST,
    ),
    "any τ": Term(
        "any τ",
        "A network that was trained over a range of τ and is told which one it runs at, so that "
        "one file does for every price.",
        _COST,
    ),
    "FLOPs": Term(
        "FLOPs",
        "Operations of the convolutions, two for each multiply-add, as the authors count. Many "
        "papers count one.",
        _COST,
    ),
    "dense": Term(
        "dense",
        "Without halting: every position runs every unit. “70 % of dense” is what is left of that "
        "work.",
        _COST,
    ),
    "halting branch": Term(
        "halting branch",
        "The small convolutions that compute the halting scores: what deciding costs.",
        _COST,
    ),
    "ring": Term(
        "ring",
        "A 3 × 3 convolution reads its neighbours, so the layer before it is computed at every "
        "active position **and around it**. Scattered positions have much ring and save little.",
        _COST,
    ),
    "masked engine": Term(
        "masked engine",
        "The program that computes active positions only: it gathers them, multiplies, and puts "
        "them back. That takes time of its own, so half the FLOPs are not half the seconds.",
        _COST,
    ),
    "backend": Term(
        "backend",
        "One of three programs that compute the same network: plain NumPy as the reference, the "
        "masked engine, and dense PyTorch. They share no arithmetic, so that each checks the "
        "others.",
        _MEASURED,
    ),
    "sure": Term(
        "sure",
        "The probability that the network gives to its answer. It is often too high: a sure "
        "answer may be wrong.",
        _MEASURED,
    ),
    "accuracy": Term(
        "accuracy",
        "The share of test images, none of them seen in training, whose first answer is right.",
        _MEASURED,
    ),
    "static network": Term(
        "static network",
        "One that does not halt but has fewer units from the start: the rival that halting has "
        "to beat at equal FLOPs.",
        _MEASURED,
    ),
    "checkpoint": Term(
        "checkpoint",
        "A trained network as a file, with the command, the data and the numbers that it came "
        "from.",
        _MEASURED,
    ),
    "epoch": Term(
        "epoch",
        "One pass of training over all training images.",
        _MEASURED,
    ),
}


def meaning(*names: str) -> str:
    """What terms mean, as Markdown for a widget's help.

    Parameters
    ----------
    *names : str
        Keys of `TERMS`.

    Raises
    ------
    KeyError
        If there is no such term.
    """
    if len(names) == 1:
        return TERMS[names[0]].meaning
    return "\n\n".join(f"**{TERMS[name].name}**: {TERMS[name].meaning}" for name in names)
