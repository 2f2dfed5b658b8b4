"""Parts of the Data set page.

``charts`` sums a test split up, ``gallery`` shows its images, ``flipping`` says where
along tau answers change, ``doubt`` whether it thinks longer where people doubt, with other
networks ``beside`` it; ``passes`` runs them, ``taking`` gives all this as figures and tables.
"""
