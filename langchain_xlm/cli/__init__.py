"""The `langchain-xlm` command: one module for each of its verbs."""
