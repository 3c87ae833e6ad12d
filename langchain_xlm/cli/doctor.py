def doctor() -> None:
    """X."""
