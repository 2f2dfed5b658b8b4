"""Whether a network thinks longer where people doubt, and where it errs.

``python -m sact_core.doubt`` sets a pass over a test split (`sact_core.measures.passes`)
against people's answers (`sact_core.measures.people`): `findings` has the statistics,
`errors` those of errors, `words` the tables, `series` what figures draw, `drawing` the figure.
"""
