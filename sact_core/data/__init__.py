"""Images and their labels: data sets, class folders, photographs, as they are."""
