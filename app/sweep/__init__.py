"""Parts of the Sweep page.

``family`` shows checkpoints that differ in tau only, ``dial`` one network that takes
any tau; ``mind`` says where along tau the answer changes.
"""
