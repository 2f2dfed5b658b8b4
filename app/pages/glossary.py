"""Glossary: what the words mean."""

from __future__ import annotations

import streamlit as st

from app import controls
from app.lecture.glossary import TERMS, TOPICS

controls.heading(
    "What do the words mean?",
    "The terms of the authors' papers and of this app. “Words” on a page explains those that it "
    "uses.",
)
columns = st.columns(2, gap="large")
for i, topic in enumerate(TOPICS):
    with columns[i % 2]:
        st.header(topic, anchor=False)
        for term in TERMS.values():
            if term.topic == topic:
                st.markdown(f"**{term.name}**: {term.meaning}")
