"""How much memory a training takes: a step of the real networks is run without data, and every tensor is counted."""
