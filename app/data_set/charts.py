"""A test split in numbers and charts."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import controls, figures, views
from app.loaders.dataset import Outcomes

MANY_CLASSES = 10  # beyond, the five most likely classes are counted too


def totals(outcomes: Outcomes, num_classes: int) -> None:
    """The split in four numbers."""
    share = outcomes.flops / outcomes.dense
    many = num_classes > MANY_CLASSES
    with st.grid(5 if many else 4, min_column_width=150):
        controls.number(
            "Right",
            f"{outcomes.right.mean():.2%}",
            f"{int(outcomes.right.sum()):,} of {len(outcomes):,}",
        )
        if many:
            controls.number(
                "Among its first five",
                f"{outcomes.among_five.mean():.2%}",
                f"of {num_classes} classes",
                help="How often the label is one of the five classes it finds most likely.",
            )
        controls.number(
            "FLOPs an image",
            figures.si(outcomes.flops.mean()),
            f"± {figures.si(outcomes.flops.std())}",
        )
        controls.number(
            "Of dense", f"{share.mean():.1%}", f"{share.min():.0%} to {share.max():.0%}"
        )
        controls.number("Units a position", f"{outcomes.units.mean():.2f}", "on average")


def charts(outcomes: Outcomes, names: tuple[str, ...]) -> None:
    """Histogram, accuracy against cost, cost per class."""
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What images cost**")
        st.plotly_chart(
            figures.cost_histogram(outcomes.flops, outcomes.right, float(outcomes.dense.mean())),
            key="data_set_histogram",
            config=views.QUIET,
            alt="Histogram of FLOPs an image, right and wrong",
        )
    with right:
        st.markdown("**Is it right where it thinks longer?**")
        st.plotly_chart(
            figures.accuracy_by_cost(outcomes.flops, outcomes.right),
            key="data_set_accuracy",
            config=views.QUIET,
            alt="Share of right answers over FLOPs",
        )
    present = [i for i in range(len(names)) if (outcomes.labels == i).any()]
    st.markdown("**What the images of each class cost**")
    if len(present) > 30:
        st.caption(f"The 15 cheapest and 15 dearest of {len(present)} classes.")
        means = [outcomes.flops[outcomes.labels == i].mean() for i in present]
        order = np.argsort(means)
        present = [present[i] for i in (*order[:15], *order[-15:])]
    groups = [outcomes.labels == i for i in present]
    st.plotly_chart(
        figures.cost_by_class(
            [names[i] for i in present],
            np.array([outcomes.flops[group].mean() for group in groups]),
            np.array([outcomes.flops[group].std() for group in groups]),
            np.array([outcomes.right[group].mean() for group in groups]),
            70 + 24 * len(present),
        ),
        key="data_set_classes",
        config=views.QUIET,
        alt="FLOPs an image by class",
    )
