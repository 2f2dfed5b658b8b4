"""The sections of the Explore page, top to bottom.

``maps`` shows where the network thinks and why a position stopped, ``film``
which positions are active unit by unit, ``cost`` the numbers, ``take_home`` the
blocks' own maps and the downloads.
"""
