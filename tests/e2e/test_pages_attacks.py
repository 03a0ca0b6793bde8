"""Attacks on the pages: forged requests, stolen and fixed sessions, redirects, paths, guessing, a viewer's wishes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
import trio

from pg_trio.store.operator_admin import OperatorAdmin
from tests.support.gateway import PROJECT, Gateway, Operators, endpoint, project, start_gateway, start_pages
from tests.support.wire import HttpResponse, post, send_raw

CONFIGURATION = project() + endpoint("ask", streaming_enabled=True)
CALL = f"/playground/call/{PROJECT}/ask"
FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")


@pytest.fixture
async def gateway(nursery: trio.Nursery, tmp_path: Path) -> Gateway:
    return await start_gateway(nursery, tmp_path, CONFIGURATION)


@pytest.fixture
async def operators(nursery: trio.Nursery, gateway: Gateway) -> Operators:
    return await start_pages(nursery, gateway)


async def log_in(
    operators: Operators, key: str | None = None, back: str = "/", *headers: tuple[str, str]
) -> HttpResponse:
    form = urlencode({"key": operators.operator if key is None else key, "next": back}).encode()
    return await send_raw(operators.port, post("/login", form, FORM, host(operators), *headers))


def host(operators: Operators) -> tuple[str, str]:
    return ("host", f"127.0.0.1:{operators.port}")


def cookie_of(answer: HttpResponse) -> tuple[str, str]:
    return ("cookie", answer.headers["set-cookie"].partition(";")[0])


async def csrf_of(operators: Operators, cookie: tuple[str, str]) -> str:
    page = await fetch(operators, "/providers", cookie)
    return page.body.decode().partition('data-csrf="')[2].partition('"')[0]


async def fetch(operators: Operators, path: str, *headers: tuple[str, str]) -> HttpResponse:
    data = f"GET {path} HTTP/1.1\r\n".encode() + b"".join(
        f"{name}: {value}\r\n".encode() for name, value in (host(operators), *headers)
    )
    return await send_raw(operators.port, data + b"connection: close\r\n\r\n")


async def test_session_is_kept_from_scripts_and_other_sites(operators: Operators) -> None:
    answer = await log_in(operators)

    cookie = answer.headers["set-cookie"]
    assert (303, "/") == (answer.status, answer.headers["location"])
    assert cookie.startswith(f"pg_trio_{operators.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    "path", ["/", "/live", "/playground", "/providers", "/endpoints", "/tokens", "/audit", "/requests/x"]
)
async def test_pages_need_a_login_and_lead_back(operators: Operators, path: str) -> None:
    answer = await fetch(operators, path)

    assert 303 == answer.status
    assert answer.headers["location"].startswith("/login")


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/live\r\nx: y", "live", ""],
)
async def test_login_leads_only_to_our_pages(operators: Operators, back: str) -> None:
    answer = await log_in(operators, None, back)

    assert (303, "/") == (answer.status, answer.headers["location"])


async def test_login_takes_no_session_from_the_visitor(operators: Operators) -> None:
    fixed = ("cookie", f"pg_trio_{operators.port}=fixed-by-an-attacker")

    answer = await log_in(operators, None, "/", fixed)

    assert "fixed-by-an-attacker" not in answer.headers["set-cookie"]
    assert 303 == (await fetch(operators, "/live", fixed)).status


async def test_login_from_another_site_is_refused(operators: Operators) -> None:
    answer = await log_in(operators, None, "/", ("origin", "https://evil.example"))

    assert 403 == answer.status
    assert "set-cookie" not in answer.headers


async def test_change_needs_the_session_s_token_and_our_origin(gateway: Gateway, operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))
    token = ("x-csrf-token", await csrf_of(operators, cookie))
    other = ("x-csrf-token", await csrf_of(operators, cookie_of(await log_in(operators))))
    evil = ("origin", "https://evil.example")
    ours = ("origin", f"http://127.0.0.1:{operators.port}")

    async def change(*headers: tuple[str, str]) -> int:
        data = post("/admin/api/v1/providers/openai", {"is_active": True}, JSON, host(operators), cookie, *headers)
        return (await send_raw(operators.port, data.replace(b"POST", b"PATCH", 1))).status

    assert [403, 403, 403, 200, 200] == [
        await change(),
        await change(other),
        await change(token, evil),
        await change(token),
        await change(token, ours),
    ]


async def test_logout_ends_the_session_everywhere(operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))
    form = urlencode({"csrf": await csrf_of(operators, cookie)}).encode()

    refused = await send_raw(operators.port, post("/logout", b"", FORM, host(operators), cookie))
    left = await send_raw(operators.port, post("/logout", form, FORM, host(operators), cookie))

    assert [403, 303, 303] == [refused.status, left.status, (await fetch(operators, "/live", cookie)).status]


async def test_revoked_operator_s_session_ends(gateway: Gateway, operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))
    assert 200 == (await fetch(operators, "/live", cookie)).status

    with OperatorAdmin(gateway.settings.gateway.data_dir) as admin:
        admin.revoke(operators.operator)

    assert 303 == (await fetch(operators, "/live", cookie)).status


async def test_link_logs_in_once(gateway: Gateway, operators: Operators) -> None:
    with OperatorAdmin(gateway.settings.gateway.data_dir) as admin:
        link = admin.make_link(admin.list_operators()[0])

    first, second = [await fetch(operators, f"/login?link={link}") for _ in range(2)]

    assert [303, 401] == [first.status, second.status]
    assert 200 == (await fetch(operators, "/live", cookie_of(first))).status


async def test_guessing_is_limited(operators: Operators) -> None:
    tries = [(await log_in(operators, f"pg_op_{number}")).status for number in range(12)]

    assert [401] * 10 + [429] * 2 == tries


async def test_guesses_are_those_of_the_address_behind_a_proxy(nursery: trio.Nursery, tmp_path: Path) -> None:
    trusting = await start_gateway(nursery, tmp_path, '[server]\ntrusted_proxies = ["127.0.0.0/8"]\n' + CONFIGURATION)
    behind = await start_pages(nursery, trusting)
    forwarded = [("x-forwarded-for", f"203.0.113.{number}") for number in (1, 2)]
    for number in range(10):
        await log_in(behind, f"pg_op_{number}", "/", forwarded[0])

    guesser, other = [await log_in(behind, None, "/", each) for each in forwarded]

    assert [429, 303] == [guesser.status, other.status]


async def test_word_of_an_unlisted_proxy_counts_for_nothing(operators: Operators) -> None:
    tries = [await log_in(operators, "pg_op_x", "/", ("x-forwarded-for", f"203.0.113.{n}")) for n in range(11)]

    assert 429 == tries[-1].status


async def test_playground_asks_only_for_operators(gateway: Gateway, operators: Operators) -> None:
    mine, viewer = cookie_of(await log_in(operators)), cookie_of(await log_in(operators, operators.viewer))
    token, other = [("x-csrf-token", await csrf_of(operators, each)) for each in (mine, viewer)]

    async def ask(*headers: tuple[str, str], path: str = CALL) -> HttpResponse:
        return await send_raw(operators.port, post(path, {"message": "Hi"}, JSON, host(operators), *headers))

    answers = [await ask(mine, token), await ask(mine), await ask(), await ask(viewer, other), await ask(mine, other)]
    evil = await ask(mine, token, ("origin", "https://evil.example"))
    nowhere = [
        await ask(mine, token, path=f"/playground/call/{rest}") for rest in ("x/ask", f"{PROJECT}/", "..%2Fadmin/x")
    ]

    assert [200, 403, 401, 403, 403, 403] == [answer.status for answer in (*answers, evil)]
    assert [404] * 3 == [answer.status for answer in nowhere]
    assert 1 == sum(gateway.simulator.counts.values())


async def test_no_client_has_the_playground_s_token(gateway: Gateway, operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))
    token = ("x-csrf-token", await csrf_of(operators, cookie))
    answer = await send_raw(operators.port, post(CALL, {"message": "Hi"}, JSON, host(operators), cookie, token))

    assert 200 == answer.status
    assert b"pg_tmp_" not in answer.body
    assert not any("pg_tmp_" in value for value in answer.headers.values())


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/uplot.LICENSE",
        "/static/nope.js",
        "/static/",
    ],
)
async def test_no_other_file_is_served(operators: Operators, path: str) -> None:
    assert 404 == (await fetch(operators, path)).status


@pytest.mark.parametrize("path", ["//live", "//example.org", "//example.org/live", "/\\example.org"])
async def test_path_with_two_slashes_leads_nowhere_else(operators: Operators, path: str) -> None:
    """Two slashes at the beginning are one, or unknown; a redirect never takes them for a host."""
    answer = await fetch(operators, path)

    assert answer.headers.get("location", "/login?next=%2Flive") == "/login?next=%2Flive"
    assert answer.status in (303, 404)


async def test_every_answer_forbids_frames_and_foreign_scripts(operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))

    for path in ("/login", "/live", "/nope", "/static/desk.js", "/admin/api/v1/providers"):
        headers = (await fetch(operators, path, cookie)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert "script-src 'self';" in headers["content-security-policy"], path
        assert ("nosniff", "DENY") == (headers["x-content-type-options"], headers["x-frame-options"]), path


async def test_pages_have_no_script_or_style_inside(operators: Operators) -> None:
    cookie = cookie_of(await log_in(operators))

    for path in ("/login", "/", "/live", "/requests/<img src=x onerror=alert(1)>".replace(" ", "%20")):
        page = (await fetch(operators, path, cookie)).body.decode()
        assert "<style" not in page
        assert " onerror=" not in page.replace("&#39;", "'").replace('data-request-id="&lt;img src=x onerror=', "")
        assert page.count("<script") == page.count('<script type="module" src="/static/')


async def test_prefix_of_a_proxy_is_in_every_link(nursery: trio.Nursery, tmp_path: Path) -> None:
    gateway = await start_gateway(nursery, tmp_path, '[server]\nadmin_root_path = "/gate/way"\n' + CONFIGURATION)
    operators = await start_pages(nursery, gateway)
    answer = await log_in(operators)
    cookie = cookie_of(answer)

    stripped, whole = await fetch(operators, "/live", cookie), await fetch(operators, "/gate/way/live", cookie)

    assert "/gate/way/" == answer.headers["location"]
    assert "Path=/gate/way/" in answer.headers["set-cookie"]
    assert (200, 200) == (stripped.status, whole.status)
    assert 'href="/gate/way/providers"' in whole.body.decode()
    assert 'href="/providers"' not in whole.body.decode()
