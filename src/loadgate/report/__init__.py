"""How people and machines read a run."""
