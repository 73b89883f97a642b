"""Text edits on scanned documents: words copied over others, retyped or painted over."""
