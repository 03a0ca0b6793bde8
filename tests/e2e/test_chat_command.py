"""`pg-trio chat` on a terminal of its own, and in a pipe, with a gateway that does what the test says, and with a real
one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.support.cutting_relay import open_relay
from tests.support.example_site import TEXT
from tests.support.gateway import PROJECT, Gateway, endpoint, project, start_gateway
from tests.support.processes import PG_TRIO, run_command, wait_until
from tests.support.scripted_chat import ScriptedChat, ScriptedSocket, drop, open_scripted
from tests.support.terminal import CTRL_C, CTRL_D, Terminal, open_terminal

TOKEN = "pg_live_" + "t" * 43
AGAIN = "Ctrl-C again leaves"


def command(port: int, *more: str, slug: str = "support") -> list[str]:
    url = f"http://127.0.0.1:{port}"
    return [*PG_TRIO, "chat", "--url", url, "--project", str(PROJECT), "--endpoint", slug, *more]


@asynccontextmanager
async def chatting(chat: ScriptedChat, *more: str, token: str = TOKEN) -> AsyncIterator[Terminal]:
    async with open_terminal(command(chat.port, *more), {"PG_TRIO_TOKEN": token}) as terminal:
        await terminal.wait_shown("> ")
        yield terminal


async def run_piped(port: int, given: str, *more: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    import os

    with trio.fail_after(40):
        done = await trio.run_process(
            command(port, *more),
            stdin=given.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "PG_TRIO_TOKEN": token},
            start_new_session=True,
        )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


async def echo(socket: ScriptedSocket) -> None:
    """Answers each question with its number and its words."""
    while True:
        frame = await socket.receive()
        if frame["type"] == "message":
            said = frame["message"] if "message" in frame else frame["messages"][-1]["content"]
            await socket.answer(frame["id"], f"<{said}>")


# ── at a terminal ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_answer_streams_as_it_comes(nursery: trio.Nursery) -> None:
    may_go_on = trio.Event()

    async def script(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"])
        await socket.say(frame["id"], "first ")
        await may_go_on.wait()
        await socket.finish(frame["id"], await socket.say(frame["id"], "second", after=1))
        await socket.wait_gone()

    chat = await open_scripted(nursery, script)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await terminal.wait_shown("first ")
        assert "second" not in terminal.shown
        may_go_on.set()
        await terminal.wait_shown("first second\n> ")
        await terminal.type("/quit\n")

        assert 0 == await terminal.wait_end()
    assert [f"/api/{PROJECT}/support/ws"] == chat.paths
    assert f"Bearer {TOKEN}" == chat.heads[0]["authorization"]
    assert TOKEN not in terminal.shown


async def test_turns_are_remembered_and_forgotten(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)
    async with chatting(chat) as terminal:
        for number, line in enumerate(("one", "two", "/new", "three", "/retry"), 2):
            await terminal.type(f"{line}\n")
            await terminal.wait_shown("> ", number)
        await terminal.type(CTRL_D)
        assert 0 == await terminal.wait_end()

    sent = [[turn["content"] for turn in frame["messages"]] for frame in chat.frames]
    assert [["one"], ["one", "<one>", "two"], ["three"], ["three"]] == sent


async def test_session_is_gone_on_with(nursery: trio.Nursery) -> None:
    async def script(socket: ScriptedSocket) -> None:
        for number in range(3):
            frame = await socket.receive()
            await socket.answer(frame["id"], f"answer {number}", session_id="s1")
        await socket.wait_gone()

    chat = await open_scripted(nursery, script)
    async with chatting(chat) as terminal:
        for number, line in enumerate(("one", "two", "/new", "three"), 2):
            await terminal.type(f"{line}\n")
            await terminal.wait_shown("> ", number)

    assert [None, "s1", None] == [frame.get("session_id") for frame in chat.frames]
    assert ("two", "messages") == (chat.frames[1]["message"], "messages" if "messages" in chat.frames[2] else "")


async def test_lost_session_begins_another(nursery: trio.Nursery) -> None:
    async def script(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.answer(frame["id"], "first", session_id="s1")
        frame = await socket.receive()
        await socket.send(type="error", id=frame["id"], seq=1, status=403, error="Session not found or not accessible.")
        await socket.close(4403)

    chat = await open_scripted(nursery, script, echo)
    async with chatting(chat) as terminal:
        await terminal.type("one\n")
        await terminal.wait_shown("first\n> ")
        await terminal.type("two\n")
        await terminal.wait_shown("Session not found or not accessible.")
        await terminal.type("/retry\n")
        await terminal.wait_shown("<two>")

    assert ["s1", None] == [frame.get("session_id") for frame in chat.frames[1:]]


async def test_ctrl_c_stops_the_answer_alone(nursery: trio.Nursery) -> None:
    async def script(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"])
        await socket.say(frame["id"], "endless")
        assert {"type": "cancel", "id": frame["id"]} == await socket.receive()
        await socket.send(type="cancelled", id=frame["id"], seq=2, usage={})
        await echo(socket)

    chat = await open_scripted(nursery, script)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await terminal.wait_shown("endless")
        await terminal.type(CTRL_C)
        await terminal.wait_shown("The answer was stopped.")
        await terminal.wait_shown("> ", 2)
        await terminal.type("and now\n")
        await terminal.wait_shown("<and now>")
        assert terminal.process.returncode is None

    assert ["Tell me", "endless", "and now"] == [turn["content"] for turn in chat.frames[2]["messages"]]


async def test_second_ctrl_c_leaves_a_silent_gateway(nursery: trio.Nursery) -> None:
    async def silent(socket: ScriptedSocket) -> None:
        await socket.receive()
        await socket.receive()
        await socket.wait_gone()

    chat = await open_scripted(nursery, silent, echo)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await wait_until(lambda: len(chat.frames) == 1)
        await terminal.type(CTRL_C)
        await wait_until(lambda: len(chat.frames) == 2)
        await terminal.type(CTRL_C)
        await terminal.wait_shown("> ", 2)
        await terminal.type("again\n")
        await terminal.wait_shown("<again>")


async def test_second_ctrl_c_at_the_prompt_leaves(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)
    async with chatting(chat) as terminal:
        await terminal.type("half a line" + CTRL_C)
        await terminal.wait_shown(AGAIN)
        await terminal.type("whole\n")
        await terminal.wait_shown("<whole>\n> ")
        await terminal.type(CTRL_C)
        await terminal.wait_shown(AGAIN, 2)
        await terminal.type(CTRL_C)

        assert 130 == await terminal.wait_end()
    assert ["whole"] == [frame["messages"][-1]["content"] for frame in chat.frames]


async def test_cut_answer_is_resumed_once(nursery: trio.Nursery) -> None:
    async def first(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"], "req-7")
        await socket.say(frame["id"], "one ", "two ")
        await drop(socket)

    async def second(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        # A gateway that repeats more than it must.
        await socket.say(frame["id"], "two ", "three ", after=1)
        await socket.finish(frame["id"], 3)
        await socket.wait_gone()

    chat = await open_scripted(nursery, first, 503, second)
    async with chatting(chat) as terminal:
        await terminal.type("Count\n")
        await terminal.wait_shown("three")
        await terminal.wait_shown("> ", 2)

    assert {"type": "resume", "id": "c1", "request_id": "req-7", "after": 2} == chat.frames[1]
    assert "The connection was lost. Connecting again" in terminal.shown
    answer = "".join(line for line in terminal.shown.splitlines() if line.startswith(("one", "three")))
    assert "one two three " == answer


async def test_answer_that_is_not_kept_is_said_to_be_cut(nursery: trio.Nursery) -> None:
    async def first(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"])
        await socket.say(frame["id"], "half an ")
        await drop(socket)

    async def second(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.send(type="error", id=frame["id"], seq=1, status=404, error="Stream not found or not accessible.")
        await echo(socket)

    chat = await open_scripted(nursery, first, second)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await terminal.wait_shown("the rest of the answer is not kept")
        await terminal.type("/retry\n")
        await terminal.wait_shown("<Tell me>")


async def test_unanswered_question_is_asked_again(nursery: trio.Nursery) -> None:
    async def first(socket: ScriptedSocket) -> None:
        await socket.receive()
        await drop(socket)

    chat = await open_scripted(nursery, first, first, echo)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await terminal.wait_shown("<Tell me>")

    assert ["c1"] * 3 == [frame["id"] for frame in chat.frames]


async def test_question_that_kills_is_not_asked_for_ever(nursery: trio.Nursery) -> None:
    async def first(socket: ScriptedSocket) -> None:
        await socket.receive()
        await drop(socket)

    chat = await open_scripted(nursery, first, first, first, echo)
    async with chatting(chat) as terminal:
        await terminal.type("Tell me\n")
        await terminal.wait_shown("each time before the answer began")

    assert 3 == len(chat.frames)


async def test_missing_frame_is_fetched(nursery: trio.Nursery) -> None:
    async def first(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"])
        await socket.say(frame["id"], "one ")
        await socket.say(frame["id"], "three", after=2)
        await socket.wait_gone()

    async def second(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.finish(frame["id"], await socket.say(frame["id"], "two ", "three", after=frame["after"]))
        await socket.wait_gone()

    chat = await open_scripted(nursery, first, second)
    async with chatting(chat) as terminal:
        await terminal.type("Count\n")
        await terminal.wait_shown("two three\n> ")


async def test_answer_cannot_command_the_terminal(nursery: trio.Nursery) -> None:
    async def script(socket: ScriptedSocket) -> None:
        frame = await socket.receive()
        await socket.begin(frame["id"])
        end = await socket.say(frame["id"], "a\x1b", "]52;c;ZXZpbA==\x07", "\x9b2J", "\r over\u202e", "\tb\n")
        await socket.send(type="error", id=frame["id"], seq=end + 1, status=502, error="\x1b[2J bad\nend")
        await socket.wait_gone()

    chat = await open_scripted(nursery, script)
    async with chatting(chat) as terminal:
        await terminal.type("Attack\n")
        await terminal.wait_shown("bad end")

    assert not set("\x1b\x07\x9b\u202e") & set(terminal.shown)
    assert "\r" not in terminal.shown.replace("\r\n", "\n")
    assert "a␛]52;c;ZXZpbA==␇\\u009b2J␍ over\\u202e" in terminal.shown


async def test_token_is_asked_for_without_being_shown(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)
    async with open_terminal(command(chat.port), {"PG_TRIO_TOKEN": ""}) as terminal:
        await terminal.wait_shown("Token: ")
        await terminal.type(f"{TOKEN}\n")
        await terminal.wait_shown("> ")
        await terminal.type("/quit\n")

        assert 0 == await terminal.wait_end()
    assert TOKEN not in terminal.shown
    assert f"Bearer {TOKEN}" == chat.heads[0]["authorization"]


async def test_wrong_command_is_not_asked(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)
    async with chatting(chat) as terminal:
        await terminal.type("/qiut\n")
        await terminal.wait_shown("There is no such command.")
        await terminal.type("/retry\n")
        await terminal.wait_shown("Nothing was asked yet.")

    assert [] == chat.frames


# ── what ends it ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_refused_handshake_is_explained(nursery: trio.Nursery, status: int, more: tuple[str, ...]) -> None:
    chat = await open_scripted(nursery, status)

    done = await run_piped(chat.port, "Hi\n", *more)

    assert (1, "") == (done.returncode, done.stdout)
    assert f"Refused with {status}." in done.stderr
    assert 1 == len(chat.heads)


@pytest.mark.parametrize("code", [4401, 4403, 1008])
async def test_refusal_of_a_socket_ends_it(nursery: trio.Nursery, code: int) -> None:
    async def refuse(socket: ScriptedSocket) -> None:
        await socket.receive()
        await socket.send(type="error", status=code % 1000, error="Invalid or revoked token.")
        await socket.close(code)

    chat = await open_scripted(nursery, refuse)

    done = await run_piped(chat.port, "Hi\nand\n")

    assert (1, 1) == (done.returncode, len(chat.heads))
    assert "Invalid or revoked token." in done.stderr


async def test_absent_gateway_is_said(unused_port: int) -> None:
    done = await run_piped(unused_port, "Hi\n")

    assert 1 == done.returncode
    assert "The gateway cannot be reached" in done.stderr


@pytest.fixture
def unused_port() -> int:
    # The discard service's: nothing listens there.
    return 9


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--url", "gateway:8080"), "--url: 'gateway:8080' is no base URL"),
        (("--url", "http://me:secret@127.0.0.1:1"), "must not have a user"),
        (("--project", "a/b"), "must be a project's UUID"),
    ],
)
async def test_wrong_address_is_explained(more: tuple[str, ...], said: str) -> None:
    done = await run_piped(9, "", *more)

    assert 1 == done.returncode
    assert said in done.stderr
    assert "secret" not in done.stderr


async def test_no_token_and_no_terminal() -> None:
    done = await run_piped(9, "", token="")

    assert 1 == done.returncode
    assert "set PG_TRIO_TOKEN" in done.stderr


# ── for programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_json_prints_a_frame_a_line(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)

    done = await run_piped(chat.port, "one\n\ntwo \x9b\n/quit\nthree\n", "--json")

    frames = [json.loads(line) for line in done.stdout.splitlines()]
    assert (0, "") == (done.returncode, done.stderr)
    assert ["ready", *["started", "delta", "done"] * 2] == [frame["type"] for frame in frames]
    assert ["<one>", "<two \x9b>"] == [frame["content"] for frame in frames if frame["type"] == "delta"]
    assert done.stdout.isascii()


async def test_json_takes_the_last_line_without_a_break(nursery: trio.Nursery, tmp_path: Path) -> None:
    chat = await open_scripted(nursery, echo)
    (tmp_path / "questions").write_text("from a file\nlast")

    with (tmp_path / "questions").open() as questions, trio.fail_after(40):
        done = await trio.run_process(
            command(chat.port, "--json"),
            stdin=questions,
            capture_stdout=True,
            check=False,
            env={"PG_TRIO_TOKEN": TOKEN, "PATH": ""},
        )

    contents = [json.loads(line).get("content") for line in done.stdout.splitlines()]
    assert ["<from a file>", "<last>"] == [each for each in contents if each is not None]


async def test_piped_questions_give_bare_answers(nursery: trio.Nursery) -> None:
    chat = await open_scripted(nursery, echo)

    done = await run_piped(chat.port, "one\ntwo\n")

    assert (0, "<one>\n<two>\n", "") == (done.returncode, done.stdout, done.stderr)


async def test_help_says_what_there_is() -> None:
    status, said, _ = await run_command("chat", "--help")

    assert 0 == status
    assert all(word in said for word in ("PG_TRIO_TOKEN", "/new", "/retry", "/quit", "Ctrl-C", "--json"))


# ── a real gateway ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["lane", "hypercorn"])
async def gateway(nursery: trio.Nursery, tmp_path: Path, request: pytest.FixtureRequest) -> Gateway:
    endpoints = endpoint("support", streaming_enabled=True) + endpoint("still")
    return await start_gateway(nursery, tmp_path, project() + endpoints, request.param)


async def test_real_answer_and_a_stop_that_stops(gateway: Gateway) -> None:
    async with open_terminal(command(gateway.port), {"PG_TRIO_TOKEN": gateway.token}) as terminal:
        await terminal.type("Hello there\n")
        await terminal.wait_shown("You said: Hello there\n> ")
        gateway.simulator.behave("support", "tokens=100000&pace=20ms")
        await terminal.type("Go on\n")
        await terminal.wait_shown("You said: Go on")
        await terminal.type(CTRL_C)
        await terminal.wait_shown("The answer was stopped.")
        with trio.fail_after(20):
            call = await gateway.simulator.wait_closed()
        await terminal.type(CTRL_D)

        assert 0 == await terminal.wait_end()
    assert call.closed_early


async def test_real_refusals(gateway: Gateway) -> None:
    said: dict[str, Any] = {}
    for slug, token in (("still", gateway.token), ("unknown", gateway.token), ("support", "pg_live_" + "x" * 43)):
        with trio.fail_after(40):
            done = await trio.run_process(
                command(gateway.port, "--json", slug=slug),
                stdin=b"Hi\n",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={"PG_TRIO_TOKEN": token, "PATH": ""},
            )
        said[slug] = (done.returncode, done.stderr.decode())

    assert {1} == {status for status, _ in said.values()}
    assert "Streaming is not enabled for this endpoint." in said["still"][1]
    assert "(status 404)" in said["unknown"][1]
    assert "Invalid or revoked token." in said["support"][1]


async def test_real_cut_network_leaves_the_answer_whole(nursery: trio.Nursery, tmp_path: Path) -> None:
    resumable = {"streaming_enabled": True, "resumable_streams": True}
    gateway = await start_gateway(nursery, tmp_path, project() + endpoint("support", "", **resumable))
    gateway.simulator.behave("support", f"content={quote(TEXT)}&pace=2ms")
    relay = await open_relay(nursery, gateway.port, every=10)

    done = await run_piped(relay.port, "Tell me\n", token=gateway.token)

    assert (0, f"{TEXT}\n") == (done.returncode, done.stdout)
    assert relay.cuts >= 5
    assert 1 == len(gateway.simulator.requests)
