"""The relay's benchmark: a provider that only streams, a client that only reads, and the gateway between them."""
