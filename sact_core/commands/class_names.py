"""Class names that a command is given: a file of them, or a word for names that are known."""

from __future__ import annotations

from pathlib import Path

from sact_core.data.imagenet import imagenet_classes

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
        If the file is no UTF-8 text or is empty.
    OSError
        If it cannot be read.
    """
    if source in KNOWN:
        return KNOWN[source]()
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{source} is no UTF-8 text") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ValueError(f"{source} holds no class names")
    return names
