"""A server of any make behind OpenAI's wire: what its credential adds to each call, over sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from pg_trio.simulator import Simulator, serve_simulator
from tests.support.gateway import endpoint, project, start_gateway

CREDENTIAL = """
[[credentials]]
name = "house"
provider = "openai_compatible"
base_url = "{url}"
api_key = "file:key"
headers = {{X-Team = "search", X-Gateway = "Bearer file:token"}}
query = {{api-version = "2024-10-21", "a[b]" = "c d&e"}}
max_tokens_field = "max_completion_tokens"
"""


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_carry_what_the_credential_says(nursery: trio.Nursery, tmp_path: Path, stream: bool) -> None:
    house: Simulator = await nursery.start(serve_simulator)
    (tmp_path / "key").write_text("key-of-house")
    (tmp_path / "token").write_text("token-of-house")
    slug = endpoint("a", streaming_enabled=True, max_output_tokens=50).replace('"sim"', '"house"')
    gateway = await start_gateway(nursery, tmp_path, CREDENTIAL.format(url=house.base_url) + project() + slug)

    answer = await gateway.call("a", {"message": "Hi", "stream": stream})
    [sent] = house.requests

    assert 200 == answer.status
    assert sent.path.endswith("/chat/completions?api-version=2024-10-21&a%5Bb%5D=c+d%26e")
    names = ("authorization", "x-team", "x-gateway")
    assert ["Bearer key-of-house", "search", "Bearer token-of-house"] == [sent.headers[name] for name in names]
    assert isinstance(sent.body, dict)
    assert (50, None) == (sent.body["max_completion_tokens"], sent.body.get("max_tokens"))


async def test_new_secrets_are_sent_once_their_files_have_changed(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house: Simulator = await nursery.start(serve_simulator)
    credential = CREDENTIAL.format(url=house.base_url).replace('"2024-10-21"', '"file:sig"')
    for name in ("key", "token", "sig"):
        (tmp_path / name).write_text(f"{name}-one")
    slug = endpoint("a").replace('"sim"', '"house"')
    gateway = await start_gateway(nursery, tmp_path, credential + project() + slug)
    await gateway.call("a")
    for name in ("key", "token", "sig"):
        (tmp_path / "new").write_text(f"{name}-two")
        (tmp_path / "new").rename(tmp_path / name)
    monkeypatch.setattr("pg_trio.config.key_file.CHECK_EVERY_S", 0.0)

    await gateway.call("a")

    assert ["Bearer key-one", "Bearer key-two"] == [request.headers["authorization"] for request in house.requests]
    assert ["Bearer token-one", "Bearer token-two"] == [request.headers["x-gateway"] for request in house.requests]
    assert ["sig-one", "sig-two"] == [request.path.partition("api-version=")[2][:7] for request in house.requests]
