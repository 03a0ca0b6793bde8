"""Tables of the guardrails that ask other services -> rules: `webhook` and `moderation`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from pg_trio.config.bounds import show
from pg_trio.config.guardrail_tables import (
    GuardrailTables,
    ModerationTable,
    OutputGuardrailTables,
    OutputWebhookTable,
    WebhookTable,
)
from pg_trio.config.key_file import KeyFile
from pg_trio.config.mistakes import Mistakes, Path, suggest
from pg_trio.config.reading import FILE_PREFIX, Outside, read_secret
from pg_trio.domain.address import carried, read_address
from pg_trio.domain.guardrails import Moderation, Webhook
from pg_trio.domain.project import Credential
from pg_trio.domain.provider import PROVIDERS
from pg_trio.domain.secret import Secret

# As much as a signature of SHA-256 is worth with random letters and digits: 16 of them are 95 bits.
SECRET_CHARS = 16
# OpenAI API reference, "Moderations", read 2026-11. Other servers have others.
OPENAI_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)

_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")


@frozen(slots=True)
class RemoteRuleReader:
    """Reads the rules of one configuration. `credentials`: those by name; None for one with a mistake.

    `keyword_lists`: the different lists of `keyword_blocklist` so far, each with the words of it and of those before.
    """

    credentials: Mapping[str, Credential | None]
    outside: Outside
    mistakes: Mistakes
    keyword_lists: dict[tuple[str, ...], int] = field(factory=dict)

    def read(self, tables: GuardrailTables | OutputGuardrailTables, path: Path) -> dict[str, Any]:
        """The rules that the tables name, by their keys."""
        rules: dict[str, Any] = {}
        if tables.webhook is not None:
            rules["webhook"] = self._read_webhook(tables.webhook, (*path, "webhook"))
        if tables.moderation is not None:
            rules["moderation"] = self._read_moderation(tables.moderation, (*path, "moderation"))
        return rules

    def _read_webhook(self, table: WebhookTable | OutputWebhookTable, path: Path) -> Webhook:
        given = _given(table, "enabled", "timeout_ms", "on_failure", "parallel", "mode")
        url = self._read_url(table, (*path, "url"))
        secret = None if table.secret is None else self._read_secret(table.secret, (*path, "secret"))
        if isinstance(table, WebhookTable) and table.phase is not None:
            given["phase"] = tuple(dict.fromkeys(phase for phase in table.phase if phase is not None))
            if not table.phase:
                self.mistakes.add((*path, "phase"), "is empty: enabled = false switches the guardrail off")
        if table.parallel and (isinstance(table, OutputWebhookTable) or "input" not in given.get("phase", ("input",))):
            self._note_parallel(path)
        return Webhook(url=url, secret=secret, **given)

    def _read_url(self, table: WebhookTable | OutputWebhookTable, path: Path) -> str:
        if table.url is None:
            self._miss(table.enabled, path)
            return ""
        try:
            host = check_webhook_url(table.url)
        except ValueError as error:
            self.mistakes.add(path, str(error))
            return ""
        if table.url.startswith("http:") and _may_be_public(host):
            self.mistakes.note(path, "texts go to this host without encryption: https:// is for a public network")
        return table.url

    def _read_secret(self, reference: str, path: Path) -> Secret | None:
        try:
            secret = read_secret(reference, self.outside.folder, self.outside.environ)
            if reference.strip().startswith(FILE_PREFIX):
                secret = KeyFile(self.outside.folder / reference.strip().removeprefix(FILE_PREFIX).strip())
        except ValueError as error:
            self.mistakes.add(path, str(error).replace("the key is empty", "the secret is empty"))
            return None
        self.mistakes.secrets.append(secret)
        if len(secret.reveal()) < SECRET_CHARS:
            self.mistakes.note(path, f"is shorter than {SECRET_CHARS} characters, and could be guessed")
        return secret

    def _read_moderation(self, table: ModerationTable, path: Path) -> Moderation:
        given = _given(table, "enabled", "model", "timeout_ms", "on_failure", "parallel", "mode")
        credential = self._find_credential(table, (*path, "credential"))
        if table.categories is not None:
            place = (*path, "categories")
            names = tuple(dict.fromkeys(name for name in table.categories if name is not None))
            if not table.categories:
                self.mistakes.add(place, "is empty: without the setting, every category blocks")
            if credential is not None and credential.provider == "openai":
                self._note_categories(names, credential, place)
            given["categories"] = names
        if credential is not None and credential.provider == "mistral" and table.model is None:
            self.mistakes.note(path, "mistral refuses a moderation without a model, such as mistral-moderation-latest")
        if table.parallel and path[-2] == "output":
            self._note_parallel(path)
        return Moderation(credential=credential, **given)

    def _find_credential(self, table: ModerationTable, path: Path) -> Credential | None:
        name = table.credential
        if name is None:
            self._miss(table.enabled, path)
            return None
        if name not in self.credentials:
            close = suggest(name, self.credentials)
            self.mistakes.add(path, f"no credential is named {show(name)}{close}")
            return None
        credential = self.credentials[name]
        if credential is not None and PROVIDERS[credential.provider].wire != "openai":
            self.mistakes.note(
                path, f"{credential.provider} has no moderations of OpenAI's kind at {show('/moderations')}"
            )
        return credential

    def _note_categories(self, names: tuple[str, ...], credential: Credential, path: Path) -> None:
        """Names that OpenAI's own server does not have. A server of the same wire elsewhere may have them."""
        if credential.base_url != PROVIDERS["openai"].base_url:
            return
        for name in names:
            if name not in OPENAI_CATEGORIES:
                close = suggest(name, OPENAI_CATEGORIES)
                self.mistakes.note(path, f"{show(name)} is none of OpenAI's categories{close}")

    def _note_parallel(self, path: Path) -> None:
        self.mistakes.note((*path, "parallel"), "has no effect on answers: they are there when they are checked")

    def _miss(self, enabled: bool | None, path: Path) -> None:
        """A required setting is not there. A rule that is switched off needs none."""
        if enabled is not False and not self.mistakes.has(path):
            self.mistakes.add(path, "missing")


def check_webhook_url(text: str) -> str:
    """The URL's host. Raises ValueError, which never quotes the URL: a key may be in its query."""
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("a URL is visible ASCII without spaces (write an international name in its xn-- form)")
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname or ""
    except ValueError:
        raise ValueError("not a URL: its host or port cannot be read") from None
    if url.scheme not in ("http", "https"):
        raise ValueError("a webhook's URL starts with http:// or https:// (the URL itself, never a variable's name)")
    if "@" in url.netloc:
        raise ValueError("a webhook's URL holds no user or password: use secret")
    if not _HOST.fullmatch(host) or port == 0:
        raise ValueError("a webhook's URL has a host, and no port 0")
    try:
        read_address(host)
    except ValueError:
        raise ValueError("the host is a name or an address; this looks like an address and is none") from None
    if ":" not in host and not all(0 < len(label) <= 63 for label in host.removesuffix(".").split(".")):
        raise ValueError("the host has an empty part, or one over 63 characters")
    if "\\" in text or "#" in text:
        raise ValueError("a webhook's URL has no backslash and no fragment")
    return host


def _may_be_public(host: str) -> bool:
    """Whether the host could be reached over a public network: not an address of the own network, nor a bare name."""
    address = read_address(host)
    if address is None:
        return "." in host.removesuffix(".") and not host.endswith((".local", ".internal", ".localhost"))
    return carried(address).is_global


def _given(table: object, *names: str) -> dict[str, Any]:
    """The named settings that the file has; the rule's own defaults hold for the rest."""
    return {name: given for name in names if (given := getattr(table, name, None)) is not None}
