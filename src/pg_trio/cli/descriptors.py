"""File descriptors: a gateway holds two for each request, and soon reaches the usual soft limit of 1,024."""

from __future__ import annotations

import logging
import resource

# More than a worker needs. Without a hard limit some libraries would loop over billions of descriptors.
WANTED = 65_536


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one, at most WANTED. If that is not permitted, standard error says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            logging.getLogger("pg_trio.cli").warning("the limit of open files stays at %d (%s)", soft, error)
