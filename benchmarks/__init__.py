"""How long things take, on the machine that runs this."""
