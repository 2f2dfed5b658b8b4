"""Numba loops of the masked engine, nothing else."""
