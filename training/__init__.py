"""How the bundled starter checkpoints are made: one recipe, in stages, on CPU or CUDA."""
