"""The Halting lab: ``rule`` works the halting rule step by step; no Streamlit."""
