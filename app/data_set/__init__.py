"""Parts of the Data set page.

``charts`` sums a test split up, ``gallery`` shows its images, ``flipping`` says where
along tau answers change, ``doubt`` whether it thinks longer where people doubt; ``taking``
gives all this as figures and tables.
"""
