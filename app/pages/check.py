"""Check: three backends on one image, side by side; version, licence, citation."""

from __future__ import annotations

import streamlit as st

import sact_core
from app import controls, loaders
from app.records import Look
from app.texts import code_span, plain

PAGE = "check"

PAPER = """@inproceedings{figurnov2017spatially,
  title     = {Spatially Adaptive Computation Time for Residual Networks},
  author    = {Figurnov, Michael and Collins, Maxwell D. and Zhu, Yukun and Zhang, Li and
               Huang, Jonathan and Vetrov, Dmitry and Salakhutdinov, Ruslan},
  booktitle = {Proceedings of the IEEE Conference on Computer Vision and Pattern
               Recognition (CVPR)},
  year      = {2017}
}"""
THIS = """@software{{sact_explorer,
  title   = {{SACT Explorer}},
  version = {{{version}}},
  license = {{Apache-2.0}},
  note    = {{Where a network with spatially adaptive computation time thinks}}
}}"""


def result(look: Look) -> None:
    """The three backends beside one another."""
    with controls.guarded(), st.spinner("Running three backends …"):
        ref = loaders.run(look, "reference")
        found = loaders.agreement(look)
    agree = all(one.ok for one in found if one.precision == "float32")
    st.session_state[controls.checked_key(look)] = agree
    if agree:
        st.success("The three backends agree on this image.", icon=":material/verified:")
    else:
        st.error("The backends differ on this image.", icon=":material/error:")
    rows = [
        {
            "backend": "reference",
            "how": "NumPy: every position, then masks",
            "milliseconds": 1000 * ref.seconds,
            "logits": "–",
            "ponder cost": "–",
            "units": "–",
            "FLOPs": f"{int(ref.executed.total[0]):,}",
        }
    ]
    words = {
        "masked": "Numba: active positions only",
        "dense": "PyTorch: every position",
    }
    for one in found:
        rounded = one.precision != "float32"
        near = f", {one.close} a rounding away" if one.num_units else ""
        rows.append(
            {
                "backend": one.backend,
                "how": f"the same in {one.precision}" if rounded else words[one.backend],
                "milliseconds": 1000 * one.seconds,
                "logits": f"{one.logits:.1e}",
                "ponder cost": f"{one.ponder_cost:.1e}",
                "units": f"{one.num_units} of {one.positions:,}{near}",
                "FLOPs": "equal" if one.flops_equal else "differ",
            }
        )
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "backend": "Backend",
            "how": "How",
            "milliseconds": st.column_config.NumberColumn("Took, ms", format="%.1f"),
            "logits": st.column_config.TextColumn(
                "Δ logits", help="Largest difference, over the largest logit."
            ),
            "ponder cost": st.column_config.TextColumn(
                "Δ ponder cost", help="Largest difference, in units."
            ),
            "units": st.column_config.TextColumn(
                "Other units", help="Positions that ran another number of units."
            ),
        },
        key="check_table",
        alt="Differences of the masked and dense backends from the reference",
    )
    if any(one.precision != "float32" for one in found):
        st.caption(
            "The other pages take the masked engine's faster number format, whose numbers are "
            "rounded: the last row says what that changes. The badge is about float32. "
            "With SACT_PRECISION=float32 in its environment the app computes in float32."
        )
    st.caption(
        "Differences are from the reference. The backends share the plan and the parameters, "
        "never arithmetic, so an error of one cannot hide in the others."
    )


controls.heading(
    "Can it be trusted?",
    "Three programs compute the same network in three ways. Here they run on one image, and "
    "every difference is listed.",
    terms=("backend", "masked engine", "dense", "ponder cost", "checkpoint"),
)
choice = controls.choose(PAGE)
look, model = choice.look, choice.look.model
controls.price_list(PAGE, look, choice.fitting)
key = controls.checked_key(look)
if st.button("Check this image", icon=":material/fact_check:", key="check_run") or (
    key in st.session_state
):
    result(look)
else:
    st.caption("Loads PyTorch at the first check, which takes a few seconds.")

st.header("About", anchor=False)
with controls.guarded():
    loaders.verify(model)  # its content hash stands below
command = model.header.provenance.get("command")
left, right = st.columns(2, gap="large")
with left:
    st.table(
        {
            "SACT Explorer": f"version {sact_core.__version__}",
            "Licence": "Apache-2.0",
            "Checkpoint": plain(model.name),
            "Content hash": code_span(f"{model.digest[:16]}…"),
            "Trained with": code_span(command) if command else "unknown",
        },
        border="horizontal",
        alt="Version, licence and checkpoint",
    )
    st.markdown(
        "The halting rule, the networks and the FLOP count follow the authors' published "
        "TensorFlow code, [mfigurnov/sact](https://github.com/mfigurnov/sact). Example "
        "photographs: see `app/examples/LICENSES.md`."
    )
with right:
    st.markdown("Please cite the authors:")
    st.code(PAPER, language=None, wrap_lines=True)
    st.markdown("and, if it helped, this program:")
    st.code(THIS.format(version=sact_core.__version__), language=None, wrap_lines=True)
