"""Ponder maps: their file, the parts that it is written in, pictures of it."""
