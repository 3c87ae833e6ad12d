"""The recipe of the bundled checkpoints, and the checkpoints themselves."""
