"""Find the scales by which a network is computed in eight-bit integers.

`__main__` is the command; `scales` the numbers that it looks at and the three methods;
`weights` what rounding weights does to sums, and the scales that do least.
"""
