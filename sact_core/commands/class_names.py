"""Class names that a command is given: a file of them, or a word for names that are known."""

from __future__ import annotations

from sact_core.data.imagenet import imagenet_classes
from sact_core.files import read_small

MAX_BYTES = 4 << 20

CIFAR10_NAMES = (
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)
#: Words that stand for names, and what gives them.
KNOWN = {
    "cifar10": lambda: tuple(CIFAR10_NAMES),
    "imagenet": lambda: tuple(imagenet_classes().values()),
}


def read_class_names(source: str) -> tuple[str, ...]:
    """Read one name per line from a text file.

    The words of `KNOWN` stand for names that are known.

    Raises
    ------
    ValueError
        If the file is no UTF-8 text, is empty or far too large.
    OSError
        If it cannot be read.
    """
    if source in KNOWN:
        return KNOWN[source]()
    data = read_small(source, MAX_BYTES, "class names")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{source} is no UTF-8 text") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{source} holds no class names")
    return names
