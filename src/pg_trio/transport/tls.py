"""TLS towards providers: the platform's trust store, host names checked, TLS 1.2 at least."""

from __future__ import annotations

import ssl


def client_context() -> ssl.SSLContext:
    """A fresh context for connections to providers. `SSL_CERT_FILE` and `SSL_CERT_DIR` add to or replace the store.

    1.2 is the lowest version that providers still offer and RFC 9325 (BCP 195) allows.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # With OpenSSL 3 Python takes a connection that somebody cut for one that ended: a cut answer would look whole.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    return context
