"""TLS towards providers: the platform's trust store or a credential's own, host names checked, TLS 1.2 at least."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pg_trio.domain.project import HttpxOptions


def client_context(options: HttpxOptions | None = None) -> ssl.SSLContext:
    """A fresh context for connections to providers. `SSL_CERT_FILE` and `SSL_CERT_DIR` add to or replace the store.

    With `ca_pem`, these authorities are trusted and no others. 1.2 is the lowest version that providers still offer and
    RFC 9325 (BCP 195) allows. Raises: ValueError if a certificate or key of the options cannot be used; the text does
    not quote them.
    """
    context = _trusting(options.ca_pem if options is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # With OpenSSL 3 Python treats a cut connection as one that ended, so a cut answer would look whole.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if options is not None and options.certificate_pem is not None and options.key_pem is not None:
        _show_certificate(context, options.certificate_pem, options.key_pem.reveal())
    return context


def _trusting(ca_pem: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as exc:
        raise ValueError(f"ca_file holds no certificates that can be used ({exc.reason})") from None


def _show_certificate(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    with _open_private_file() as (file, name):
        file.write((key_pem + certificate_pem).encode("ascii", "replace"))
        file.flush()
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(name, password="")
        except (ssl.SSLError, ValueError) as exc:
            reason = exc.reason if isinstance(exc, ssl.SSLError) else "the key is encrypted"
            raise ValueError(f"client_certificate and client_key cannot be used together ({reason})") from None


@contextmanager
def _open_private_file() -> Iterator[tuple[IO[bytes], str]]:
    """A private file and its name, deleted afterwards. OpenSSL reads a key from a named file only.

    It is in memory if the system has such files: a container's root may be read-only, and a key should not be on a
    disk.
    """
    try:
        memory = os.fdopen(os.memfd_create("client-key"), "w+b") if hasattr(os, "memfd_create") else None
    except OSError:
        memory = None  # a seccomp filter may forbid the call
    if memory is not None:
        with memory:
            name = f"/proc/self/fd/{memory.fileno()}"
            if os.path.exists(name):
                yield memory, name
                return
    with tempfile.NamedTemporaryFile() as file:
        yield file, file.name
