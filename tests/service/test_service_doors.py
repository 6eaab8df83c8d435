"""Safe by default: who may do what, what may be asked for, where nobody goes."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenSite
from helpers.serving import Client, service
from helpers.website import page, redirect
from hypothesis import given, settings
from hypothesis import strategies as st
from test_service_openapi import idle

from crawler.config.loader import fields
from crawler.errors import ConfigError
from crawler.service.http.access import (
    AccessToken,
    RequestLimiter,
    Role,
    token_hash,
    tokens_from_environment,
)
from crawler.service.jobs.crawl_job_request import (
    CEILINGS,
    FORBIDDEN,
    SETTABLE,
    is_settable,
    read_crawl_request,
)
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.server import open_service
from crawler.service.settings import ServiceConfig

ADMIN = AccessToken("admin", token_hash("a" * 20), Role.ADMIN)
READER = AccessToken("reader", token_hash("r" * 20), Role.READ)
TOKENS = (ADMIN, READER)
PUBLIC = {"isAlive", "isReady", "getOpenApi"}


async def test_every_route_without_with_a_wrong_and_with_a_read_only_token(tmp_path: Path) -> None:
    async with service(tmp_path, TOKENS, opener=idle) as opened:
        async with Client(opened.url, "a" * 20) as admin:
            job = await admin.start("https://example.com/")
            document = await admin.get("/openapi.json")
        seen = 0
        for path, operations in document["paths"].items():
            filled = (
                path.replace("{id}", job).replace("{path}", "pages.jsonl").replace("{name}", "x")
            )
            for method, operation in operations.items():
                seen += 1
                for token in ("", "wrong-token-wrong-token", "a" * 19, "a" * 21):
                    async with Client(opened.url, token) as client:
                        status, found = await client.ask(method, filled)
                    if operation["operationId"] in PUBLIC:
                        assert status == 200, operation
                    else:
                        assert (status, found["status"]) == (401, 401), operation
                if method == "get":
                    continue
                async with Client(opened.url, "r" * 20) as reader:
                    status, _ = await reader.ask(method, filled, {})
                assert status == 403, operation
        assert seen >= 28
        async with Client(opened.url, "r" * 20) as reader:
            assert (await reader.get(f"/jobs/{job}"))["id"] == job
            assert (await reader.ask("GET", "/tokens"))[0] == 403
            assert (await reader.ask("GET", "/audit"))[0] == 403


async def test_tokens_are_made_told_once_hashed_and_dropped(tmp_path: Path) -> None:
    async with service(tmp_path, (ADMIN,), opener=idle) as opened:
        async with Client(opened.url, "a" * 20) as admin:
            made = await admin.post("/tokens", {"name": "ci", "limits": {"queued": 1}}, expect=201)
            assert made["role"] == "read"
            assert len(made["token"]) >= 43
            listed = (await admin.get("/tokens"))["tokens"]
            assert {one["name"]: one["token"] for one in listed} == {"admin": None, "ci": None}
            async with Client(opened.url, made["token"]) as ci:
                assert (await ci.ask("GET", "/jobs"))[0] == 200
                assert (await admin.ask("DELETE", "/tokens/ci"))[0] == 204
                assert (await ci.ask("GET", "/jobs"))[0] == 401
            assert (await admin.ask("DELETE", "/tokens/admin"))[0] == 409
            changes = (await admin.get("/audit"))["audit"]
            assert [one["what"] for one in changes] == ["deleteToken", "createToken"]
    assert made["token"].encode() not in (tmp_path / "jobs.db").read_bytes()


async def test_without_tokens_only_loopback_is_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CRAWLER_SERVICE_TOKEN"):
        async with open_service(ServiceConfig(dir=str(tmp_path), host="0.0.0.0", port=0)):
            raise AssertionError
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80"):
            status, _ = await client.ask("GET", "/jobs", headers={"Host": host})
            assert status == 421, host
        for host in ("localhost", "127.0.0.1:1", "[::1]:8080"):
            assert (await client.ask("GET", "/jobs", headers={"Host": host}))[0] == 200


async def test_another_sites_page_changes_nothing(tmp_path: Path) -> None:
    body = json.dumps({"seeds": ["https://example.com/"]})
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        simple = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
        assert (await client.ask("POST", "/jobs", data=body, headers=simple))[0] == 403
        assert (
            await client.ask("POST", "/jobs", data=body, headers={"Content-Type": "text/plain"})
        )[0] == 415
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        async with client.session.options("/jobs", headers=headers) as answer:
            assert "access-control-allow-origin" not in answer.headers
        assert (await client.get("/jobs"))["jobs"] == []


async def test_cors_is_for_the_origins_that_were_named(tmp_path: Path) -> None:
    there = ("https://board.example",)
    async with service(tmp_path, opener=idle, cors=there) as opened, Client(opened.url) as client:
        for origin, allowed in (("https://board.example", True), ("https://evil.example", False)):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            async with client.session.options("/jobs", headers=headers) as answer:
                assert ("access-control-allow-origin" in answer.headers) is allowed


BODIES = [
    (b"", 400),
    (b"{", 400),
    (b'{"seeds": ["\xff"]}', 400),
    (b"[]", 422),
    (b'{"seeds": []}', 422),
    (b'{"seeds": ["ftp://example.com/"]}', 422),
    (b'{"seeds": ["https://example.com/"], "nonsense": 1}', 422),
    (b'{"seeds": ["https://example.com/"], "limits": {"max_pages": 0}}', 422),
    (b'{"seeds": ["https://example.com/"], "scope": {"include": ["("]}}', 422),
    (b"x" * 20_000, 413),
]


async def test_malformed_and_oversize_bodies(tmp_path: Path) -> None:
    async with (
        service(tmp_path, opener=idle, max_body=10_000, burst=1000) as opened,
        Client(opened.url) as client,
    ):
        json_type = {"Content-Type": "application/json"}
        for data, status in BODIES:
            found, problem = await client.ask("POST", "/jobs", data=data, headers=json_type)
            assert found == status, data[:80]
            assert problem["status"] == status
            assert "Traceback" not in str(problem)
        deep = b"[" * 9_999
        assert (await client.ask("POST", "/jobs", data=deep, headers=json_type))[0] == 400
        assert (await client.get("/jobs"))["jobs"] == []


async def test_who_sends_far_too_much_is_told_so(tmp_path: Path) -> None:
    """The answer is read by a client that first sends all of its body, and does not look up."""
    body = b" " * 8_000_000
    head = (
        "POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    async with service(tmp_path, opener=idle, max_body=10_000) as opened:
        port = int(opened.url.rpartition(":")[2])
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            await writer.drain()
            assert (await reader.readline()).split()[1] == b"413"
            writer.close()
            await writer.wait_closed()


async def test_errors_are_problems_and_every_answer_is_armoured(tmp_path: Path) -> None:
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        for method, path, status in (
            ("GET", "/nowhere", 404),
            ("PATCH", "/jobs", 405),
            ("POST", "/events", 405),
            ("GET", "/jobs/0123456789ab", 404),
            ("GET", "/jobs?limit=0", 422),
            ("GET", "/jobs?cursor=x", 422),
            ("GET", "/jobs?state=asleep", 422),
        ):
            async with client.session.request(method, path) as answer:
                assert answer.status == status, path
                assert answer.content_type == "application/problem+json"
                assert (await answer.json(content_type=None))["status"] == status
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "default-src 'none'" in answer.headers["content-security-policy"]
        async with client.session.get("/") as answer:
            policy = answer.headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            text = await answer.text()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        async with client.session.head("/jobs") as answer:
            assert answer.status == 200
        async with client.session.head("/events") as answer:
            assert answer.status == 405
        assert (await client.get("/audit"))["audit"] == []
        assert "server" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize(
    "key",
    [
        "output.dir",
        "parse.plugins",
        "fetch.proxy",
        "parse.memory",
        "parse.processes",
        "fetch.insecure",
    ],
)
def test_keys_that_reach_beyond_the_job_are_closed(key: str) -> None:
    section, _, name = key.partition(".")
    body = {"seeds": ["https://example.com/"], section: {name: "x"}}
    with pytest.raises(InvalidBody) as refused:
        read_crawl_request(body, defaults={}, limits=JobLimits())
    assert refused.value.pointer == f"/{section}/{name}"


def test_a_key_that_is_not_named_stays_closed() -> None:
    sections = {one.removesuffix(".*") for one in SETTABLE if one.endswith(".*")}
    for key in fields():
        named = key in SETTABLE or key.partition(".")[0] in sections
        assert is_settable(key) is named
        assert is_settable(key, [key]) is (key not in FORBIDDEN)
    assert all(is_settable(key) for key in CEILINGS)


@settings(deadline=None, max_examples=60)  # the first call imports and compiles
@given(st.dictionaries(st.text(max_size=12), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ), max_leaves=8), max_size=4))  # fmt: skip
def test_whatever_comes_is_an_order_or_invalid(body: dict[str, Any]) -> None:
    for more in ({}, {"seeds": ["https://example.com/"]}):
        try:
            made = read_crawl_request({**body, **more}, defaults={}, limits=JobLimits(pages=7))
        except InvalidBody as error:
            said = str(error)
        else:
            said = "an order"
            assert made.config.limits.max_pages is not None
            assert made.config.limits.max_pages <= 7
        assert said


@pytest.mark.parametrize(
    "headers",
    [
        {"A": "b\r\nX: y"},
        {"A b": "c"},
        {"Host": "other"},
        {"": "x"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_headers_smuggle_nothing(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidBody):
        read_crawl_request(
            {"seeds": ["https://e.com/"], "fetch": {"headers": headers}},
            defaults={},
            limits=JobLimits(),
        )


async def test_credentials_are_not_told_back(tmp_path: Path) -> None:
    async with (
        service(tmp_path, opener=idle, allow=("fetch.proxy",)) as opened,
        Client(opened.url) as client,
    ):
        hook = {
            "url": "https://user:pass-word@hooks.example/x",
            "secret": "whsec_c2VjcmV0LXNlY3JldA==",
        }
        job = await client.start(
            "https://me:open-sesame@example.com/a@b",
            fetch={
                "headers": {"Authorization": "Basic c2VjcmV0"},
                "proxy": "http://u:hunter2@p.example",
            },
            job={"webhooks": [hook]},
        )
        told = json.dumps(await client.get(f"/jobs/{job}"))
        for secret in ("c2VjcmV0", "hunter2", "pass-word", "whsec", "open-sesame"):
            assert secret not in told
        assert "Authorization" in told


async def test_files_are_those_of_the_job_and_nothing_else(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    (tmp_path / "secret").write_text("s")
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await client.start(site.url, pace={"fast": True}, output={"save": "html"})
        await client.until(job, "finished")
        folder = tmp_path / "jobs" / job
        (folder / "escape").symlink_to(tmp_path / "secret")
        listed = [one["path"] for one in (await client.get(f"/jobs/{job}/files"))["files"]]
        assert "pages.jsonl" in listed
        assert not {"frontier.db", "crawl.toml", "escape"} & set(listed)
        for path in (
            "../../jobs.db", "%2e%2e/%2e%2e/jobs.db", "..%2f..%2fjobs.db", "/etc/passwd",
            "%2fetc%2fpasswd",
            "escape", "frontier.db", "frontier.lock", "crawl.toml", "./crawl.toml",
            "html/../crawl.toml",
            "html/../../../secret", "spool/x", "%00", "", ".", "..", "pages.jsonl/",
            "pages.jsonl%00",
        ):  # fmt: skip
            status, _ = await raw(opened.url, f"/jobs/{job}/files/{path}")
            assert status in {404, 307, 400}, path
        status, body = await raw(opened.url, f"/jobs/{job}/files/pages.jsonl", "Range: bytes=0-9")
        whole = (folder / "pages.jsonl").read_bytes()
        assert (status, body) == (206, whole[:10])
        status, body = await raw(
            opened.url, f"/jobs/{job}/files/pages.jsonl", "Range: bytes=9999999-"
        )
        assert status == 416
        async with client.session.get(f"/jobs/{job}/files/pages.jsonl") as answer:
            assert answer.headers["content-disposition"].startswith("attachment")
            assert answer.headers["content-security-policy"].startswith("sandbox")


async def raw(url: str, path: str, *headers: str) -> tuple[int, bytes]:
    """A request as written: no client normalises the path."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_private_addresses_are_refused_to_seeds_and_redirects(
    tmp_path: Path, website: OpenSite
) -> None:
    inside = await website({"/": page(), "/robots.txt": page()})
    async with service(tmp_path, private=False) as opened, Client(opened.url) as client:
        names = ("127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]")
        seeds = [f"http://{name}:{inside.port}/" for name in names]
        jobs = [
            await client.start(seed, retry={"retries": 0}, robots={"obey": False})
            for seed in (*seeds, "http://169.254.169.254/")
        ]
        for job in jobs:
            done = await client.until(job, "failed", "finished")
            assert (done["state"], done["reason"]) == ("failed", "no page: forbidden"), done
        assert not inside.log


async def test_with_leave_redirects_inside_are_followed(tmp_path: Path, website: OpenSite) -> None:
    """The counterpart: the same site is reached when private addresses are allowed."""
    site = await website({"/": redirect("/a"), "/a": page()})
    async with service(tmp_path, private=True) as opened, Client(opened.url) as client:
        job = await client.start(site.url, pace={"fast": True})
        assert (await client.until(job, "finished"))["totals"]["pages"] == 1


async def test_too_many_requests(tmp_path: Path) -> None:
    async with service(tmp_path, TOKENS, opener=idle, rate=0.1, burst=3) as opened:
        async with Client(opened.url, "a" * 20) as client:
            assert [(await client.ask("GET", "/jobs"))[0] for _ in range(4)] == [200, 200, 200, 429]
        async with Client(opened.url, "r" * 20) as client:
            async with client.session.get("/jobs") as answer:
                assert answer.status == 200
        async with Client(opened.url, "wrong") as client:
            statuses = [(await client.ask("GET", "/jobs"))[0] for _ in range(4)]
            assert statuses == [401, 401, 401, 429], "guessing is slow, too"


def test_the_meter_refills() -> None:
    meter = RequestLimiter(rate=2.0, burst=2)
    assert [meter.retry_after("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert meter.retry_after("b", 0.0) == 0.0
    assert meter.retry_after("a", 0.5) == 0.0
    assert meter.retry_after("a", 0.5) > 0


@pytest.mark.parametrize("secret", ["short", "has spaces in the middle", "x" * 15])
def test_weak_tokens_are_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        tokens_from_environment({"CRAWLER_SERVICE_TOKEN": secret})


def test_tokens_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t" * 30 + "\n")
    (token,) = tokens_from_environment({"CRAWLER_SERVICE_TOKEN_FILE": str(tmp_path / "token")})
    assert token.hash == token_hash("t" * 30)
    with pytest.raises(ConfigError, match="cannot be read"):
        tokens_from_environment({"CRAWLER_SERVICE_TOKEN_FILE": str(tmp_path / "none")})


async def stream_status(client: Client) -> int:
    async with client.session.get("/events") as answer:
        return answer.status


async def test_a_client_that_does_not_read_its_stream_slows_nobody(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website(
        {"/": page(links=[f"/{n}" for n in range(300)]), **{f"/{n}": page() for n in range(300)}}
    )
    async with service(tmp_path, streams=5) as opened, Client(opened.url) as client:
        host, _, port = opened.url.removeprefix("http://").partition(":")
        lines = []
        for _ in range(5):
            line = socket.create_connection((host, int(port)))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            line.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            lines.append(line)
        async with asyncio.timeout(10):
            while await stream_status(client) != 503:  # noqa: ASYNC110 - an event of the server's inside
                await asyncio.sleep(0.05)
        job = await client.start(site.url, pace={"fast": True})
        async with asyncio.timeout(30):
            while (await client.get(f"/jobs/{job}"))["state"] != "finished":  # noqa: ASYNC110 - every stream is taken
                await asyncio.sleep(0.1)
        for line in lines:
            line.close()
