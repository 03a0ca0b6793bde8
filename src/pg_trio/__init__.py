"""An AI gateway on Trio: one HTTP request in, a race of provider calls under one deadline, one answer out."""

__version__ = "0.1.0"
