"""Choosing an image: an example, a test image, or one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import loaders
from app.controls.basics import carry, guarded, honour, say_error, select
from app.controls.networks import kind_for, offer, uploaded_models, uploaded_pictures
from app.folders import InputError
from app.loaders import dataset, visits
from app.records import Model, Picture, pretty_class
from app.texts import plain_lines

TEST_IMAGE = "Test image"
FIRST_IMAGE = "Cat"
MAX_IMAGE_MB = 50


def choose_picture(page: str, model: Model) -> Picture:
    """Let the user choose an image."""
    uploaded = uploaded_pictures()
    names = [*uploaded, *loaders.example_names()]
    with_test = dataset.is_here(model)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    honour(f"{page}_image", [*names, TEST_IMAGE], _example_of)
    with row:
        chosen = select(
            page,
            "image",
            "Image",
            [*names, TEST_IMAGE] if with_test else names,
            names.index(FIRST_IMAGE) if FIRST_IMAGE in names else 0,
            on_change=_picked,
        )
    if chosen in uploaded and len(uploaded) > 1:
        step(page, row, list(uploaded), chosen)
    with guarded():
        if chosen == TEST_IMAGE:
            picture = _test_image(page, model, row)
        else:
            picture = uploaded.peek(chosen) or loaders.example(chosen)
    st.session_state[f"{page}_shows"] = kind_for(picture)
    return picture


def step(page: str, row: Any, names: list[str], at: str) -> None:
    """Buttons to the one before and the one after, of several images of one's own."""
    i = names.index(at)
    with row:
        for label, icon, to in (("Previous", "left", i - 1), ("Next", "right", i + 1)):
            st.button(
                label,
                icon=f":material/chevron_{icon}:",
                key=f"{page}_{label.lower()}",
                type="tertiary",
                disabled=not 0 <= to < len(names),
                on_click=_step,
                args=(page, names[to % len(names)]),
            )


def _step(page: str, name: str) -> None:
    st.session_state[f"{page}_image"] = name
    _picked(page)


def add_your_own(page: str) -> None:
    """Popover that takes images, a photograph or a checkpoint."""
    with st.popover("Add", icon=":material/add_photo_alternate:", width="stretch"):
        st.file_uploader(
            "Images",
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
            f"Up to {MAX_IMAGE_MB} MB and 50 megapixels an image (JPEG: 250, made smaller). "
            f"Files stay in the memory of this server until you have closed the page, the latest "
            f"{visits.MAX_FILE_BYTES >> 20} MB of them; links cannot carry them."
        )
    for sentence in st.session_state.pop(f"{page}_problems", []):
        say_error(sentence)
        # The popover that the file went into is open, and covers the sentence.
        st.toast(plain_lines(sentence), icon=":material/error:", duration="long")


# --- parts ---


def _example_of(asked: str) -> str | None:
    """The example of a file's name, as links have it that were made of commands."""
    name = PurePosixPath(asked).stem.capitalize()
    return name if name in loaders.example_names() else None


def _test_image(page: str, model: Model, row: st.delta_generator.DeltaGenerator) -> Picture:
    split = dataset.source(model)
    carry(page, "index", range(len(split)))
    if st.session_state.get(f"{page}_index", 0) >= len(split):  # of a larger data set
        st.session_state[f"{page}_index"] = 0
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
    name = pretty_class(split.class_names[label])
    return loaders.picture(f"Test image {index}", image, "test", f"labelled {name}")


def _picked(page: str) -> None:
    """Another image was picked; a photograph after a small image wants another network."""
    chosen = st.session_state.get(f"{page}_image")
    try:
        picture = uploaded_pictures().peek(chosen or "") or loaders.example(chosen or "")
    except InputError:
        return  # a test image, which goes with its network
    if st.session_state.get(f"{page}_shows") != kind_for(picture):
        offer(page, picture)


def _take_images(page: str) -> None:
    """Take what has come since the last time: the uploader keeps what it was given before."""
    files = st.session_state.get(f"{page}_upload") or []
    taken = st.session_state.get(f"{page}_taken", frozenset())
    st.session_state[f"{page}_taken"] = frozenset(file.file_id for file in files)
    for file in files:
        if file.file_id not in taken:
            _keep_picture(page, file.name, file.getvalue)
            _let_go(file.file_id)
            loaders.give_back_memory()


def _let_go(file_id: str) -> None:
    """Free what Streamlit keeps of an upload until the visit ends; its pixels are ours now."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        context.uploaded_file_mgr.remove_file(context.session_id, file_id)


def _take_photograph(page: str) -> None:
    file = st.session_state.get(f"{page}_camera")
    if file is not None:
        _keep_picture(page, "Photograph.png", file.getvalue)


def _keep_picture(page: str, name: str, data: Callable[[], bytes]) -> None:
    try:
        picture = uploaded_pictures().add(name, data())
    except InputError as error:
        st.session_state.setdefault(f"{page}_problems", []).append(str(error))
        return
    st.session_state[f"{page}_image"] = picture.name
    offer(page, picture)


def _take_checkpoint(page: str) -> None:
    """Take what has come, once: what was let go counts as a change of the uploader later on."""
    file = st.session_state.get(f"{page}_upload_checkpoint")
    taken, key = None if file is None else file.file_id, f"{page}_taken_checkpoint"
    if file is None or st.session_state.get(key) == taken:
        return
    st.session_state[key] = taken
    try:
        model = loaders.uploaded_model(file.name, file.getvalue())
    except InputError as error:
        st.session_state.setdefault(f"{page}_problems", []).append(str(error))
        return
    finally:
        _let_go(file.file_id)
        loaders.give_back_memory()
    uploaded_models().put(model.name, model)
    st.session_state[f"{page}_checkpoint"] = model.name
