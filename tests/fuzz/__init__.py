"""Seeded fuzzers: damaged and hostile inputs, each refused in a sentence or taken as it should.

``make fuzz`` runs thousands, ``test_fuzz.py`` a few hundred. Every input is made from a
seed, its kind and its number, so that one of them can be made again by itself.
"""
