"""Classes of a data set, and those of a network: by name, by WordNet id, or in order."""

from __future__ import annotations

import pytest

from sact_core.data.classes import class_numbers
from sact_core.data.imagenet import imagenet_classes

IMAGENET = tuple(imagenet_classes().values())
NAMES = ("ant", "garden bee", "Cow", "dog")


def numbers(theirs, ours=NAMES, num_classes=None):
    return class_numbers(ours, num_classes or len(ours), theirs, "it").tolist()


@pytest.mark.parametrize(
    ("theirs", "ref"),
    [
        (NAMES, [0, 1, 2, 3]),
        (("dog", "ant"), [3, 0]),
        (("cow", "garden_bee", " Garden  Bee"), [2, 1, 1]),
        (("ant", "cow", "dog"), [0, 2, 3]),  # one less, yet no background
    ],
)
def test_names_decide(theirs, ref):
    assert numbers(theirs) == ref


def test_imagenets_classes_go_by_their_ids_too():
    ids = list(imagenet_classes())
    assert numbers(ids[::-1], IMAGENET) == list(range(1000))[::-1]
    assert numbers(["n02102040", "N03888257", "tench", "golf_ball"], IMAGENET) == [217, 701, 0, 574]
    assert numbers(["cardigan", "Cardigan", "Old_English_sheepdog"], IMAGENET) == [474, 264, 229]
    # A network that knows some of them.
    assert numbers(["n02102040"], ("tench", "English springer")) == [1]
    assert numbers(["n02102040"], ("n01440764", "n02102040")) == [1]


def test_without_names_the_order_decides():
    assert numbers(("a", "b"), (), 2) == [0, 1]
    assert numbers(("a", "b"), (), 3) == [1, 2]  # class 0: background
    ids = tuple(imagenet_classes())
    assert numbers(ids, ("background", *(f"name {i}" for i in range(1000)))) == [*range(1, 1001)]


@pytest.mark.parametrize(
    ("theirs", "ours", "num_classes", "match"),
    [
        (("a", "b"), (), 4, "has 4 classes, it has 2, and the network does not say what they are"),
        ((), NAMES, 4, r"the network has 4 classes, it has 0$"),
        (
            ("ant", "cat"),
            NAMES,
            4,
            r"it has classes that are none of the network's 4 by name or WordNet id: 'cat'$",
        ),
        (tuple("abcde"), NAMES, 4, "id: 'a', 'b', 'c' and 2 more"),
        (("ant", "bug", "Cow", "dog"), NAMES, 4, "id: 'bug'"),
        (("n02102040",), NAMES, 4, "id: 'n02102040'"),
        (("ant", "bee", "cow"), NAMES, 4, "id: 'bee'"),  # one less, but no background
        (("a_b",), ("a b", "A b"), 2, "id: 'a_b'"),  # which of the two?
        (("\x1b[2J" + 99 * "x",), NAMES, 4, r"id: '\\+x1b\[2Jx+ … 43 more characters … x+'$"),
    ],
)
def test_classes_that_do_not_fit(theirs, ours, num_classes, match):
    with pytest.raises(ValueError, match=match):
        class_numbers(ours, num_classes, theirs, "it")
