"""What networks and maps are measured by, and the files that hold what people saw."""
