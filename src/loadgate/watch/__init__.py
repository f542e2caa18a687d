"""How the target is seen from outside: probes."""
