"""What every benchmark of streams shares: a provider that only streams, and a client that only reads and then judges."""
