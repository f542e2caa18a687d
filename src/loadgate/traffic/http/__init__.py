"""Speak HTTP/1.1 to the target: framing, connections, deadlines, TLS and the client itself."""
