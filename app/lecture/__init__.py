"""A guided path over the pages, what words mean, and the app on a wall.

``glossary`` holds what every term means, once; ``words`` shows the terms where they are used.
``steps`` are the stations of the path, ``bar`` is drawn below a page that is one of them, or
that is presented; ``drawings`` are the figures that are drawn.
"""
