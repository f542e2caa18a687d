"""How requests are made: request values, the HTTP client, users, arrivals and corpora."""
