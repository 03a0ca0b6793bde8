"""`scripts/bench/growth`, `overload`, `soak`: where one worker's speed, memory and manners end. On top of `_peers`."""
