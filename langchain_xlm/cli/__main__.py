"""`python -m langchain_xlm.cli`: the command where its script is not on the path."""

from __future__ import annotations

from langchain_xlm.cli.main import main

main()
