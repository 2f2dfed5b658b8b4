"""Parts of the page FLOPs."""
