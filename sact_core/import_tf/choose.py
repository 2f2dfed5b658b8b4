"""Which entries of a checkpoint are the network's, and what the others are.

A checkpoint of a training holds more than the network: moving averages of its variables
and slots of its optimiser, which stand under a variable's own name with something behind
it (``…/weights/Momentum``) and sometimes something before it (``OptimizeLoss/…``), and
counters and settings of whatever wrapped the training. A model that was built inside of
another scope has that before all its names.

Source: tensorflow/python/training/slot_creator.py, moving_averages.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sact_core.import_tf.object_graph import GRAPH
from sact_core.texts import shown

#: What TensorFlow puts behind the name of a variable for its moving average.
AVERAGE = "ExponentialMovingAverage"
MAX_NAMED = 8
_MAX_DEPTH = 50  # of scopes in scopes

_NETWORK = re.compile(r"(?:^|(?<=/))resnet_(?:residual|v2)/")
#: A variable of a network, and what stands behind it.
_VARIABLE = re.compile(
    r"(.*?/(?:weights|biases|gamma|beta|moving_mean|moving_variance))(?:/(.+))?", re.DOTALL
)
_SLOT = re.compile(
    r"(.+)/(?:Momentum|RMSProp|Adam\w*|Adagrad\w*|Adadelta|Ftrl|Proximal\w+)(?:_\d)?"
)
_SLIM = re.compile(r"(?:^|/)(resnet_v[12]_\w+)/")


@dataclass(frozen=True)
class Choice:
    """What a checkpoint holds.

    Attributes
    ----------
    scope : str
        What stands before the network's own names, such as ``model/``; mostly empty.
    raw, averages : dict of str to str
        By the network's own name of a variable, the entry with its value and the entry
        with its moving average. What nobody knows is among the first.
    left_out : Counter of str
        How many other entries there are, by what they are: ``of Momentum``, ``global_step``.
    """

    scope: str
    raw: dict[str, str]
    averages: dict[str, str]
    left_out: Counter[str]


def choose(names: Iterable[str], scope: str | None = None) -> Choice:
    """Sort the entries of a checkpoint.

    Parameters
    ----------
    names : iterable of str
        Of all entries.
    scope : str, optional
        Which network is meant, where there are several.

    Raises
    ------
    ValueError
        If no entry is of a network of the authors, or several networks are there.
    """
    known = set(names) - {GRAPH}
    scope = _find_scope(sorted(names), scope)
    found = Choice(scope, {}, {}, Counter())
    others = []
    for name in sorted(known):
        before, own = _split(name, scope)
        variable, behind = _variable(own)
        if before and (not behind or before + scope + variable in known):
            others.append(name)  # of another network
        elif own and behind == AVERAGE:
            found.averages.setdefault(variable, name)
        elif own and behind:
            found.left_out[f"of {re.sub(r'_[0-9]+$', '', behind.split('/')[0])}"] += 1
        elif own:
            found.raw[own] = name
        elif _slot_of_nothing(name, known):
            found.raw[name] = name
        else:
            others.append(name)
    folders = Counter(name.split("/")[0] for name in others)
    for name in others:
        folder = name.split("/")[0]
        found.left_out[name if folders[folder] == 1 else f"of {folder}/"] += 1
    return found


def listed(counts: Counter[str]) -> str:
    """Say what there is in one line, the most first: ``63 of Momentum, global_step``."""
    kinds = [
        f"{n:,} {kind}" if kind.startswith("of ") else kind for kind, n in counts.most_common()
    ]
    more = f" and {len(kinds) - MAX_NAMED:,} more" if len(kinds) > MAX_NAMED else ""
    return ", ".join(map(shown, kinds[:MAX_NAMED])) + more


def _find_scope(names: list[str], scope: str | None) -> str:
    """What stands before the names of the network that is meant, with a slash; or nothing."""
    scopes: dict[bool, set[str]] = {True: set(), False: set()}
    for name in names:
        for match in _NETWORK.finditer(name):
            variable, behind = _variable(name[match.start() :])
            if variable and behind in ("", AVERAGE):
                scopes[behind == ""].add(name[: match.start()])
    # Averages may lie in another scope: those count alone where there is nothing else.
    found = scopes[True] or scopes[False]
    found = found or {name[: m.start()] for name in names for m in _NETWORK.finditer(name)}
    if scope is not None:
        wanted = scope.strip("/") + "/" if scope.strip("/") else ""
        if wanted not in found:
            raise ValueError(f"there is no network in scope {shown(scope)!r}: {_where(found)}")
        return wanted
    if "" in found:
        return ""
    if len(found) == 1:
        return found.pop()
    raise ValueError(f"several networks are there: {_where(found)}" if found else _foreign(names))


def _where(scopes: set[str]) -> str:
    names = [repr(shown(scope.rstrip("/"))) for scope in sorted(scopes)]
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f"say which with --scope, of {', '.join(names[:MAX_NAMED])}{more}"


def _foreign(names: list[str]) -> str:
    """What a checkpoint without a network of the authors is."""
    slim = next(filter(None, map(_SLIM.search, names)), None)
    none = "the variables are not those of one network of the authors"
    if slim:
        return (
            f"{none} but of slim's own {shown(slim[1])}, whose strides and names are others: it "
            f"cannot be taken over"
        )
    if GRAPH in names:
        return (
            f"{none}: this is an object-based checkpoint of TensorFlow 2 (tf.train.Checkpoint or "
            f"Keras) of variables such as {', '.join(map(shown, names[1:4]))}"
        )
    some = ", ".join(shown(name) for name in names[:3]) or "none at all"
    return (
        f"{none}: names should start with resnet_residual/ (CIFAR) or resnet_v2/ (ImageNet), and "
        f"these are {some}" + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    )


def _split(name: str, scope: str) -> tuple[str, str]:
    """What stands before the network in a name, and the network's own part; or neither."""
    for match in _NETWORK.finditer(name):
        before = name[: match.start()]
        if before.endswith(scope):
            before = before[: len(before) - len(scope)]
            if not before or before.endswith("/"):
                return before, name[match.start() :]
    return "", ""


def _variable(own: str) -> tuple[str, str]:
    """A variable, and what stands behind it; neither where it is none that we know."""
    match = _VARIABLE.fullmatch(own)
    return (match[1], match[2] or "") if match else ("", "")


def _slot_of_nothing(name: str, known: set[str]) -> bool:
    """Whether an optimiser kept something for a variable that is gone."""
    match = _SLOT.fullmatch(name)
    if not match:
        return False
    parts = match[1].split("/")
    return not any("/".join(parts[i:]) in known for i in range(min(len(parts), _MAX_DEPTH)))
