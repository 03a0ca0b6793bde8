"""The relay's benchmark: what relaying a stream costs one gateway."""
