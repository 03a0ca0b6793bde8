"""Subscribers: what is made of the facts of requests."""
