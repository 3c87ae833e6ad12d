"""Tests of `langchain_xlm.models`."""
