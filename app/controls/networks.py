"""Choosing a checkpoint: networks for photographs and for small images apart.

Where both kinds are here, a photograph that somebody hands in goes to a network
for photographs and a small image to one for small images; the other kind stays
one click away, and a click is remembered for what is handed in next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from app import families, loaders
from app.bounded import Bounded
from app.controls.basics import guarded, honour, select
from app.folders import InputError
from app.loaders import visits
from app.records import Model, Picture
from sact_core.shipped import named

#: Networks by what they were trained on.
KINDS = {"photographs": "Photographs", "small": "Small images"}
#: Longer side in pixels up to which an image is small.
SMALL_SIDE = 64
ALL = ("sact", "act", "none")
#: What one session keeps of its own.
MAX_MODEL_BYTES = 256 << 20


def choose_model(
    page: str,
    name: str = "checkpoint",
    label: str = "Checkpoint",
    halting: tuple[str, ...] = ALL,
    fallback: int = 0,
    by_kind: bool = True,
    useful: Callable[[Model], bool] | None = None,
) -> Model:
    """Let the user choose a checkpoint; stop where there is none.

    Parameters
    ----------
    page, name : str
        Make the key.
    label : str
        Above the widget.
    halting : tuple of str
        Kinds of networks to offer.
    fallback : int
        Which one is chosen at first: 0 the striking one, 1 the next, and so on; a
        network for any tau is offered again before one that has no map.
    by_kind : bool
        Whether to offer one kind at a time where both are here.
    useful : callable, optional
        Whether the page can show something of a network: it opens on one of these, where
        there are any, unless another is asked for here or in the link.
    """
    uploaded = uploaded_models()
    names = [*uploaded, *loaders.checkpoint_names(halting)]
    key = f"{page}_{name}"
    if not names:
        st.info(
            "Put a checkpoint (.h5) into the folder pretrained/ to begin, or upload one here.",
            icon=":material/folder_open:",
        )
        st.stop()
    honour(key, names, lambda asked: meant(asked, names))
    opening, every = loaders.first_checkpoint(halting, useful=useful), names
    elsewhere = st.session_state.get(f"chosen_{name}")
    passed_over = useful is not None and _shows(opening, useful) and not _shows(elsewhere, useful)
    if passed_over:
        st.session_state.pop(f"chosen_{name}", None)
    first, shown = opening, label
    if by_kind:
        names, first, shown = _one_kind(page, name, names, first, label, useful)
    order = _striking(names, first)
    chosen = select(
        page,
        name,
        label,
        names,
        names.index(order[fallback % len(order)]),
        label_visibility="visible" if shown else "collapsed",
        titles=titles(every),
    )
    st.session_state[f"last_{kind_of(chosen)}"] = chosen
    if passed_over and chosen == opening and elsewhere is not None:
        st.session_state[f"chosen_{name}"] = elsewhere  # nobody has chosen another
    with guarded():
        return uploaded.peek(chosen) or loaders.model(chosen)


def meant(asked: str, names: Sequence[str]) -> str | None:
    """Which listed network a link means: by its title, a short name or its file's name."""
    by_title = {title: name for name, title in titles(list(names)).items()}
    return by_title.get(asked) or named(asked.removeprefix("pretrained/"), names)


def uploaded_models() -> Bounded[str, Model]:
    """Checkpoints that this session has uploaded, by name."""
    kept: Bounded[str, Model] = st.session_state.setdefault(
        "uploaded_models", Bounded(MAX_MODEL_BYTES, _size)
    )
    return kept


def uploaded_pictures() -> visits.Photographs:
    """Images that this visit has uploaded, by name; those of a page that was loaded anew too."""
    return visits.current().photographs


def kind_of(name: str | None) -> str:
    """What a listed or uploaded checkpoint is for; empty where it cannot be read."""
    model = _readable(name)
    return "" if model is None else model.config.facts.images


def kind_for(picture: Picture) -> str:
    """The kind of network that an image is for."""
    return "small" if max(picture.pixels.shape[:2]) <= SMALL_SIDE else "photographs"


def offer(page: str, picture: Picture) -> None:
    """Have the page show the kind of network that is for this image, unless told otherwise."""
    kind = kind_for(picture)
    if st.session_state.get("wanted_kind", kind) == kind:
        st.session_state[f"{page}_offered_kind"] = kind


def that_halts(model: Model) -> Model | None:
    """A network of the same kind that halts by position; first of the same data, for any tau."""
    found = [
        other
        for other in loaders.shipped_models()
        if other.config.by_position and other.config.facts.images == model.config.facts.images
    ]
    return max(
        found,
        key=lambda other: (families.alike(model, other), other.tau_range is not None),
        default=None,
    )


def offered(page: str) -> str | None:
    """The kind that `offer` asked for since the page was last drawn."""
    kind: str | None = st.session_state.pop(f"{page}_offered_kind", None)
    return kind


def titles(names: list[str]) -> dict[str, str]:
    """What listed and uploaded networks are called; those that were uploaded by their files."""
    uploaded = uploaded_models()
    return families.titles({n: None if n in uploaded else _readable(n) for n in names})


# --- parts ---


def _readable(name: str | None) -> Model | None:
    try:
        return uploaded_models().peek(name or "") or loaders.model(name or "")
    except InputError:
        return None


def _shows(name: str | None, useful: Callable[[Model], bool]) -> bool:
    model = _readable(name)
    return model is not None and useful(model)


def _striking(names: list[str], first: str | None) -> list[str]:
    """Names, the most telling beside the first to the front."""
    model = _readable(first)
    if first not in names or model is None:
        return names
    others = [name for name in names if name != first]
    peers = [
        name
        for name in others
        if (other := _readable(name)) is not None
        and other.config.family == model.config.family
        and other.config.halts
    ]
    itself = [first] * 3 if model.tau_range is not None else []
    rest = [name for name in others if name not in peers]
    rest.sort(key=lambda name: kind_of(name) != kind_of(first))
    return [first, *peers, *itself, *rest]


def _one_kind(
    page: str,
    name: str,
    names: list[str],
    first: str | None,
    label: str,
    useful: Callable[[Model], bool] | None,
) -> tuple[list[str], str | None, str]:
    """Names of the chosen kind, the first of them, and the label that is still to be shown."""
    kinds = [kind for kind in KINDS if any(kind_of(other) == kind for other in names)]
    wanted = offered(page)
    if len(kinds) < 2:
        return names, first, label
    key = f"{page}_{name}"
    linked = {shown: kind for kind, shown in KINDS.items()}.get(
        st.query_params.get(f"{page}_kind", "") if key not in st.session_state else ""
    )
    candidates = (
        st.session_state.get(key),
        st.query_params.get(key),
        _first_of(linked, names, useful) if linked in kinds else None,
        st.session_state.get(f"chosen_{name}"),
        first,
    )
    current = next((other for other in candidates if other in names), names[0])
    kind = kind_of(current) or kinds[0]
    if wanted in kinds and wanted != kind:
        kind = wanted
        st.session_state[key] = _first_of(kind, names, useful)
    default = kind_of(first) if kind_of(first) in kinds else kinds[0]
    if f"{page}_kind" not in st.session_state and kind != default:
        st.query_params[f"{page}_kind"] = KINDS[kind]
    st.session_state[f"{page}_kind"] = kind
    st.segmented_control(
        "Networks for",
        kinds,
        default=default,
        required=True,
        format_func=KINDS.__getitem__,
        key=f"{page}_kind",
        bind="query-params",
        on_change=_switch,
        args=(page, name, names, useful),
        label_visibility="collapsed",
    )
    of_kind = [other for other in names if kind_of(other) in (kind, "")]
    return of_kind, first if kind_of(first) == kind else _first_of(kind, names, useful), ""


def _switch(page: str, name: str, names: list[str], useful: Callable[[Model], bool] | None) -> None:
    """A click on the other kind."""
    kind = st.session_state.get(f"{page}_kind")
    if kind not in KINDS:
        return
    st.session_state[f"{page}_{name}"] = _first_of(kind, names, useful)
    picture = st.session_state.get(f"{page}_image")
    if picture in uploaded_pictures():
        st.session_state["wanted_kind"] = kind


def _first_of(kind: str, names: list[str], useful: Callable[[Model], bool] | None = None) -> str:
    """The one of a kind that was used last, or the striking one; one that is useful, if any."""
    last = st.session_state.get(f"last_{kind}")
    first = loaders.first_checkpoint(images=kind, useful=useful)
    of_kind = [name for name in names if kind_of(name) == kind]
    if useful is not None:
        of_kind = [name for name in of_kind if _shows(name, useful)] or of_kind
    return next((name for name in (last, first) if name in of_kind), of_kind[0])


def _size(model: Model) -> int:
    return len(model.source) if isinstance(model.source, bytes) else 0
