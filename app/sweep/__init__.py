"""Parts of the Sweep page.

``dial`` is the page of a network that takes any tau, ``mind`` says where along tau
the answer changes.
"""
