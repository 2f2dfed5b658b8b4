"""Figures and tables for a paper: ``python -m sact_core.figure``.

`maps` draws images and their maps, by tau or by network, under one scale of colours;
`curve` accuracy against FLOPs, as a figure or a table, of what `measured` reads. `saving`
writes what came of it in the format that the name of a file asks for, with its origin inside.
"""
