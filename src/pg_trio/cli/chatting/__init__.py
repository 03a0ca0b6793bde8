"""The parts of `pg-trio chat`."""
