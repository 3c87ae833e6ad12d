"""Examples in files to figures in a report: how good a model is, and what it costs."""
