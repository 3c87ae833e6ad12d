"""LangChain retrieval parts."""
