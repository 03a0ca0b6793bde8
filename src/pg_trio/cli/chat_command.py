"""`pg-trio chat`: talk to an endpoint in the terminal, over the gateway's WebSocket.

The token is read from PG_TRIO_TOKEN, or asked for without being shown. `/new` forgets the conversation, `/retry` asks
the last question again, `/quit` or the end of the input leaves. Ctrl-C stops an answer. A lost connection is opened
again, and the answer goes on where the endpoint keeps it (`resumable_streams`). With `--json`, questions are read from
standard input, one a line, and every frame of the gateway is printed as a line of JSON; the exit status is 1 if the
token is refused.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from pg_trio.cli.chatting.chat_address import COMMAND, ChatAddress, find_address
from pg_trio.errors import ConfigError

TOKEN_VARIABLE = "PG_TRIO_TOKEN"  # noqa: S105 - its name


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("chat", help="talk to an endpoint in the terminal", description=__doc__)
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the gateway's base URL (default: http://127.0.0.1:8080)"
    )
    parser.add_argument("--project", required=True, metavar="UUID", help="the project's UUID")
    parser.add_argument("--endpoint", required=True, metavar="SLUG", help="the endpoint's slug")
    parser.add_argument("--json", action="store_true", help="questions from standard input, frames as lines of JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Chat until the user leaves: 0; 1 if the gateway refuses or is not there. Raises ConfigError."""
    import trio

    address = find_address(arguments.url, arguments.project, arguments.endpoint)
    token = read_token()
    if address.is_open:
        print(f"{COMMAND}: the token goes to {address.host} unencrypted; use https:// there", file=sys.stderr)
    return trio.run(chat, address, token, arguments.json)


async def chat(address: ChatAddress, token: str, as_json: bool) -> int:
    """The exit status of a chat on this process's standard streams."""
    import trio

    from pg_trio.cli.chatting.chat_session import HELP, WAITING_EVENTS, ChatSession, Event
    from pg_trio.cli.chatting.lines import LineReader
    from pg_trio.cli.chatting.link import Link
    from pg_trio.cli.chatting.views import JsonView, TerminalView

    is_prompting = sys.stdin.isatty() and not as_json
    view = JsonView() if as_json else TerminalView(is_prompting)
    tell, events = trio.open_memory_channel[Event](WAITING_EVENTS)
    if is_prompting:
        view.show_note(HELP)
    session = ChatSession(
        Link(address.url, token, tell), LineReader(sys.stdin.fileno()), view, events, tell, is_for_people=not as_json
    )
    return await session.run()


def read_token() -> str:
    """The token of the environment, or one that is typed without being shown. Raises ConfigError."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        token = _ask_token()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(COMMAND, [f"{TOKEN_VARIABLE}: has characters that no token has"])
    return token


def _ask_token() -> str:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise ConfigError(
            COMMAND, [f"no token: set {TOKEN_VARIABLE}; without a terminal none can be asked for"]
        ) from None
    try:
        token = getpass.getpass("Token: ").strip()
    except EOFError:
        token = ""
    if not token:
        raise ConfigError(COMMAND, [f"no token: type one, or set {TOKEN_VARIABLE}"])
    return token
