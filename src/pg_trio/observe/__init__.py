"""Subscribers of the recorder: they turn finished requests into rows of the log."""
