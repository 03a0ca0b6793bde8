"""What every benchmark of streams shares: a provider that only streams, a client that only reads and then judges."""
