"""The langchain-xlm command."""
