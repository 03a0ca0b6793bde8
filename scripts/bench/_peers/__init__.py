"""`scripts/bench/peers`: the gateway, its peers and its limits under the same load. Start reading at `__main__`."""
