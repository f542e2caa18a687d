"""How the load spreads: the Locust plugin, launching and the fleet."""
