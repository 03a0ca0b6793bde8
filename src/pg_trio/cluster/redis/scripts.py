"""Scripts in Lua, run by their digest. Redis's clock decides, so the clocks of nodes do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources

from attrs import field, frozen

from pg_trio.cluster.engine_away import EngineAway
from pg_trio.cluster.redis.resp import Argument, RedisError, Reply, encode_command, encode_items


@frozen(slots=True)
class ScriptTarget:
    """The keys of a script and its first arguments, written once for many commands."""

    written: bytes
    count: int

    @classmethod
    def of(cls, keys: Sequence[Argument], arguments: Sequence[Argument]) -> ScriptTarget:
        """These keys, and these arguments."""
        return cls(encode_items((len(keys), *keys, *arguments)), 1 + len(keys) + len(arguments))


@frozen(slots=True)
class Script:
    """One script. `parts`: how many its reply has at least."""

    source: str
    parts: int = 0
    digest: str = field(init=False)

    @digest.default
    def _find_digest(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[Argument], arguments: Sequence[Argument]) -> bytes:
        """The command that runs it."""
        return encode_command("EVALSHA", self.digest, len(keys), *keys, *arguments)

    def call_on(self, target: ScriptTarget, arguments: Sequence[Argument]) -> bytes:
        """The command that runs it on a target, with the rest of the arguments."""
        count = 2 + target.count + len(arguments)
        name = encode_items(("EVALSHA", self.digest))
        return b"*%d\r\n%b%b%b" % (count, name, target.written, encode_items(arguments))

    def read(self, reply: Reply) -> list[Reply]:
        """The parts of its reply. Raises EngineAway if it is none: servers and proxies that only resemble Redis."""
        if not isinstance(reply, list):
            raise EngineAway(f"Redis refused a script: {reply.said if isinstance(reply, RedisError) else reply!r}")
        if len(reply) < self.parts:
            raise EngineAway("Redis answered a script with something else")
        return reply

    def load(self) -> bytes:
        """The command that makes Redis know it."""
        return encode_command("SCRIPT", "LOAD", self.source)


def read_script(name: str, parts: int = 0) -> Script:
    """A script of this folder (`lua/NAME.lua`), whose reply has so many parts at least."""
    source = resources.files("pg_trio.cluster.redis").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return Script(source, parts)
