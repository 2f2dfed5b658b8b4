"""Parts of the Photographs page.

``rows`` runs the network over many photographs, ``saving`` says what halting saves on them,
``table`` lists them, ``looked_at`` shows one of them and thumbnails of the others.
"""
