"""Texts in, results out, on a loaded model. No LangChain."""
