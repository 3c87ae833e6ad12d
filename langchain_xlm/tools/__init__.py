"""LangChain tools."""
