"""What the pages share: choosing a checkpoint and an image, and saying what went wrong.

Every widget's key starts with the page's name and lives in the URL. What was
chosen on one page is offered first on the next.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app import loaders, views
from app.loaders import InputError, Model, Picture, dataset

TEST_IMAGE = "Test image"
FIRST_IMAGE = "Rocket"
IMAGE_TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"]
MAX_IMAGE_MB = 50
#: Pixels and checkpoints that one session keeps.
MAX_KEPT_BYTES = 96 << 20
MAX_KEPT_MODEL_BYTES = 256 << 20

SIDES = {
    "cifar": (32, 64, 96, 128, 192, 256),
    "imagenet": (128, 160, 224, 320, 448, 640),
}
#: Longer side at which a CIFAR network is shown a photograph at first.
PHOTO_SIDE = 128
FITS = {"crop": "Square crop", "keep": "Whole image"}


@dataclass(frozen=True)
class Choice:
    """A network and what it looks at."""

    model: Model
    picture: Picture
    image_size: int | None
    fit: str | None

    @property
    def run(self) -> loaders.Run:
        """The network's run over the image, cached."""
        return loaders.run(self.model, self.picture, self.image_size, self.fit)


def heading(title: str, sentence: str) -> None:
    """Title of a page and the one sentence that explains it."""
    st.title(title, anchor=False)
    st.markdown(sentence)


def number(label: str, value: str, note: str = "", help: str | None = None) -> None:
    """A number that matters, with a note beneath."""
    st.metric(
        label,
        value,
        note or None,
        delta_color="off",
        delta_arrow="off",
        border=True,
        help=help,
    )


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user did wrong into one sentence; the page stops, the app goes on."""
    try:
        yield
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


def choose(page: str, halting: tuple[str, ...] = ("sact", "act", "none")) -> Choice:
    """Let the user choose a checkpoint and an image; stop where there is none.

    Parameters
    ----------
    page : str
        Name of the page; keys start with it.
    halting : tuple of str
        Kinds of networks that the page can show.
    """
    with st.container(border=True):
        columns = st.columns([5, 4, 4], vertical_alignment="bottom")
        row = columns[2].container(horizontal=True)
        with row:
            add_your_own(page)
        with columns[0]:
            model = choose_model(page, halting=halting)
        with columns[1]:
            picture = choose_picture(page, model)
        with row:
            image_size, fit = choose_input(page, model, picture)
        st.caption(describe(model, picture, image_size, fit))
    return Choice(model, picture, image_size, fit)


def choose_model(
    page: str,
    name: str = "checkpoint",
    label: str = "Checkpoint",
    halting: tuple[str, ...] = ("sact", "act", "none"),
    fallback: int = 0,
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
        Which one is chosen at first: 0 the striking one, 1 the next, and so on.
    """
    uploaded: dict[str, Model] = st.session_state.get("uploaded_models", {})
    names = [*uploaded, *loaders.checkpoint_names(halting)]
    if not names:
        st.info(
            "Put a checkpoint (.h5) into the folder pretrained/ to begin, or upload one here.",
            icon=":material/folder_open:",
        )
        st.stop()
    first = loaders.first_checkpoint(halting)
    order = sorted(names, key=lambda other: other != first)  # stable: the first, then the others
    chosen = _select(page, name, label, names, names.index(order[fallback % len(order)]))
    with guarded():
        return uploaded.get(chosen) or loaders.model(chosen)


def choose_picture(page: str, model: Model) -> Picture:
    """Let the user choose an image."""
    uploaded: dict[str, Picture] = st.session_state.get("uploaded_pictures", {})
    names = [*uploaded, *loaders.example_names()]
    with_test = dataset.is_here(model)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        chosen = _select(
            page,
            "image",
            "Image",
            [*names, TEST_IMAGE] if with_test else names,
            names.index(FIRST_IMAGE) if FIRST_IMAGE in names else 0,
        )
    with guarded():
        if chosen == TEST_IMAGE:
            split = dataset.source(model)
            _carry(page, "index", range(len(split)))
            index = row.number_input(
                "Number",
                0,
                len(split) - 1,
                key=f"{page}_index",
                bind="query-params",
                width=140,
                help=f"From 0 to {len(split) - 1}.",
            )
            st.session_state["chosen_index"] = index
            image, label, _ = split.read([int(index)])[0]
            return loaders.picture(
                f"Test image {index}", image, "test", f"labelled {split.class_names[label]}"
            )
        return uploaded.get(chosen) or loaders.example(chosen)


def choose_input(page: str, model: Model, picture: Picture) -> tuple[int | None, str | None]:
    """Let the user change how an image is fitted to the network.

    A photograph is shown to a CIFAR network whole and larger than it was trained
    on, since its map then has more to see; a small image as it was trained on.
    """
    own = model.header.preprocessing
    small = max(picture.pixels.shape[:2]) <= own.image_size
    kind = "small" if small else model.config.family
    enlarged = kind == "cifar"
    sides = sorted({own.image_size, *SIDES[model.config.family]})
    with st.popover("Fit", icon=":material/crop:", width="stretch"):
        st.markdown("How the image is fitted to the network")
        fit = st.segmented_control(
            "Fit",
            list(FITS),
            default="keep" if enlarged else own.fit,
            required=True,
            format_func=FITS.__getitem__,
            key=f"{page}_fit_{kind}",
            bind="query-params",
            label_visibility="collapsed",
        )
        side = st.select_slider(
            "Side of the square, or longer side, in pixels",
            sides,
            value=PHOTO_SIDE if enlarged and PHOTO_SIDE in sides else own.image_size,
            key=f"{page}_side_{kind}",
            bind="query-params",
        )
        st.caption(
            f"The checkpoint was trained at {own.image_size} pixels, square. Other sizes work, "
            f"since the network is made of convolutions: the map gets finer, the answer may get "
            f"worse."
        )
    return (None if side == own.image_size else side), (None if fit == own.fit else fit)


def describe(model: Model, picture: Picture, image_size: int | None, fit: str | None) -> str:
    """One line on what is being looked at."""
    config, own = model.config, model.header.preprocessing
    units = " + ".join(map(str, config.units_per_block))
    parts = [f"**{config.name}**, {units} units"]
    if model.tau is not None:
        parts.append(f"τ = {model.tau:g}")
    accuracy = loaders.accuracy(model)
    if accuracy is not None:
        parts.append(accuracy)
    side, fit = image_size or own.image_size, fit or own.fit
    height, width = picture.pixels.shape[:2]
    if (height, width) == (side, side):
        policy = f"{side} × {side} pixels, as it is"
    elif fit == "keep":
        policy = f"the whole {width} × {height} image at {side} pixels on its longer side"
    else:
        share = "" if own.crop_fraction == 1 else f"the middle {own.crop_fraction:.1%} of "
        square = "stretched" if own.kind == "imagenet" and height != width else "resized"
        cut = "" if own.kind == "imagenet" else "the central square of "
        policy = f"{cut}{share}the {width} × {height} image, {square} to {side} × {side} pixels"
    trained = "" if side == own.image_size else f" (trained at {own.image_size})"
    parts.append(f"sees {policy}{trained}")
    return " · ".join(parts) + (f" · {picture.note}" if picture.note else "")


def add_your_own(page: str) -> None:
    """Popover that takes images, a photograph or a checkpoint."""
    with st.popover("Add", icon=":material/add_photo_alternate:", width="stretch"):
        st.file_uploader(
            "Images",
            type=IMAGE_TYPES,
            accept_multiple_files=True,
            max_upload_size=MAX_IMAGE_MB,
            key=f"{page}_upload",
            on_change=_take_images,
            args=(page,),
        )
        if st.toggle("Use the camera", key=f"{page}_use_camera"):
            st.camera_input(
                "Photograph", key=f"{page}_camera", on_change=_take_photograph, args=(page,)
            )
        st.file_uploader(
            "Checkpoint (.h5)",
            type=["h5"],
            key=f"{page}_upload_checkpoint",
            on_change=_take_checkpoint,
            args=(page,),
        )
        st.caption(
            f"Up to {MAX_IMAGE_MB} MB and 50 megapixels an image. Files stay in the memory of this "
            f"server until you close the page; links cannot carry them."
        )
    for sentence in st.session_state.pop(f"{page}_problems", []):
        st.error(sentence, icon=":material/error:")


def checked_key(choice: Choice) -> str:
    """Where the session keeps whether the backends agreed on this run."""
    parts = (choice.model.digest, choice.picture.digest, choice.image_size, choice.fit)
    return "checked_" + "_".join(map(str, parts))


def page_link(file: str, label: str, icon: str, **query: str) -> None:
    """Link to another page, where this one is part of the whole app."""
    from streamlit.errors import StreamlitAPIException

    try:
        st.page_link(f"app/pages/{file}.py", label=label, icon=icon, query_params=query or None)
    except (StreamlitAPIException, KeyError):
        return


def choose_metric(
    page: str, on_change: Callable[..., None] | None = None, args: tuple[Any, ...] = ()
) -> str:
    """Let the user choose what a map shows: ``"ponder_cost"`` or ``"num_units"``."""
    return st.segmented_control(
        "Map",
        list(views.METRICS),
        default="ponder_cost",
        required=True,
        format_func=views.METRICS.__getitem__,
        key=f"{page}_metric",
        bind="query-params",
        on_change=on_change,
        args=args,
    )


# --- parts ---


def _select(page: str, name: str, label: str, options: list[str], index: int) -> str:
    key = f"{page}_{name}"
    wanted = st.query_params.get(key)
    if wanted is not None and wanted not in options and key not in st.session_state:
        st.warning(f"The link asks for {wanted}, which is not here.", icon=":material/link_off:")
    _carry(page, name, options)
    chosen = st.selectbox(label, options, index=index, key=key, bind="query-params")
    chosen = chosen if chosen in options else options[index]  # it comes from the browser
    st.session_state[f"chosen_{name}"] = chosen
    return chosen


def _carry(page: str, name: str, options: Container[Any]) -> None:
    """Offer first what was chosen on another page, and put it into the URL."""
    key, carried = f"{page}_{name}", st.session_state.get(f"chosen_{name}")
    if key in st.session_state or key in st.query_params or carried not in options:
        return
    st.query_params[key] = str(carried)
    st.session_state[key] = carried


def _take_images(page: str) -> None:
    for file in st.session_state.get(f"{page}_upload") or []:
        _keep_picture(page, file.name, file.getvalue)


def _take_photograph(page: str) -> None:
    file = st.session_state.get(f"{page}_camera")
    if file is not None:
        _keep_picture(page, "Photograph", file.getvalue)


def _keep_picture(page: str, name: str, data: Callable[[], bytes]) -> None:
    pictures: dict[str, Picture] = st.session_state.setdefault("uploaded_pictures", {})
    try:
        picture = loaders.uploaded_picture(name, data())
    except InputError as error:
        st.session_state.setdefault(f"{page}_problems", []).append(str(error))
        return
    pictures.pop(picture.name, None)
    pictures[picture.name] = picture
    while sum(p.pixels.nbytes for p in pictures.values()) > MAX_KEPT_BYTES and len(pictures) > 1:
        pictures.pop(next(iter(pictures)))
    st.session_state[f"{page}_image"] = picture.name


def _take_checkpoint(page: str) -> None:
    file = st.session_state.get(f"{page}_upload_checkpoint")
    if file is None:
        return
    models: dict[str, Model] = st.session_state.setdefault("uploaded_models", {})
    try:
        model = loaders.uploaded_model(Path(file.name).name, file.getvalue())
    except InputError as error:
        st.session_state.setdefault(f"{page}_problems", []).append(str(error))
        return
    models.pop(model.name, None)
    models[model.name] = model
    while sum(map(_size, models.values())) > MAX_KEPT_MODEL_BYTES and len(models) > 1:
        models.pop(next(iter(models)))
    st.session_state[f"{page}_checkpoint"] = model.name


def _size(model: Model) -> int:
    return len(model.source) if isinstance(model.source, bytes) else 0
