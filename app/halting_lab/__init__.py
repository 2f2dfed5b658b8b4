"""Parts of the Halting lab.

``rule`` works the halting rule in numbers and words, ``scores`` lets them be edited,
``outcome`` shows what comes of them.
"""
