"""The dashboard in a real browser: start, watch, pause, resume, cancel, see broken links.

Needs playwright and a Chromium; without them it is skipped with the reason. `make test-service`
installs the first and runs it; screenshots are written to docs/guide/images with CRAWLER_SHOTS=1.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenSite
from helpers.downloading import noise, ranged
from helpers.places import ROOT
from helpers.serving import Client, service
from helpers.website import page, slow

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here"),
]

IMAGES = ROOT / "docs" / "guide" / "images"


@asynccontextmanager
async def browser(**settings: Any) -> AsyncIterator[Any]:
    """A page of a browser that may not talk to anybody but loopback, and must not complain."""
    async with playwright.async_playwright() as engine:
        opened = await engine.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"],
        )
        view = await opened.new_context(**settings)
        tab = await view.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "console", lambda line: complaints.append(line.text) if line.type == "error" else None
        )
        tab.on("request", lambda request: asked.append(request.url))
        tab.set_default_timeout(15_000)
        yield tab
        await opened.close()
        bad = [one for one in complaints if not re.search("status of (401|404|422)", one)]
        assert not bad, bad
        assert all(re.match(r"(http://127\.0\.0\.1:|blob:|data:)", url) for url in asked), asked


async def shot(tab: Any, name: str) -> None:
    if os.environ.get("CRAWLER_SHOTS"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        await tab.screenshot(path=IMAGES / f"service-{name}.png")


async def serious(tab: Any) -> list[str]:
    """What axe finds to be serious or critical."""
    from axe_playwright_python.async_playwright import Axe  # noqa: PLC0415 - beside playwright

    found = await Axe().run(tab)
    return [
        f"{one['id']}: {one['nodes'][0]['html']}"
        for one in found.response["violations"]
        if one["impact"] in {"serious", "critical"}
    ]


async def test_a_person_starts_watches_and_stops_a_crawl(  # noqa: PLR0915 - one visit, in order
    tmp_path: Path, website: OpenSite
) -> None:
    names = {n: f"/{hashlib.sha256(b'%d' % n).hexdigest()[:8]}" for n in range(1, 121)}
    texts = {n: " ".join(names[m][1:] for m in range(n, n + 40) if m in names) for n in names}
    tree = {
        names[n]: slow(0.05, page(f"Page {n}", links=[names[n + 1]], text=texts[n]))
        for n in range(1, 120)
    }
    site = await website(
        {
            "/": page("Start", links=[names[1], "/gone"]),
            **tree,
            names[120]: page("End"),
        }
    )
    async with service(tmp_path) as opened, browser(viewport={"width": 1280, "height": 900}) as tab:
        await tab.goto(opened.url)
        await tab.get_by_text("connected", exact=True).wait_for()
        await tab.get_by_role("button", name="New crawl").click()
        await tab.get_by_role("button", name="Start", exact=True).click()
        assert await tab.locator("#field-seeds-wrong").text_content() == "Needed."
        await tab.get_by_label("Seed URLs").fill(site.url)
        await tab.get_by_label("Name", exact=True).fill("Our own site")
        await tab.get_by_label("Maximum pages").fill("many")
        await tab.get_by_role("button", name="Start", exact=True).click()
        assert await tab.locator("#field-limits-max_pages-wrong").text_content() == "Not a number."
        assert await tab.evaluate("document.activeElement.id") == "field-limits-max_pages"
        await shot(tab, "form")
        assert not await serious(tab)
        await tab.get_by_label("Maximum pages").fill("1000")
        await tab.get_by_label("Delay between requests").fill("10ms")
        await tab.get_by_text("More: scope").click()
        await tab.get_by_label("exclude").fill("(unclosed")
        await tab.get_by_role("button", name="Start", exact=True).click()
        await tab.locator("#form-error:not(:empty), .wrong:not(:empty)").first.wait_for()
        await tab.get_by_label("exclude").fill("")
        await tab.get_by_role("button", name="Start", exact=True).click()

        detail = tab.get_by_role("region", name=re.compile("Our own site"))
        await detail.get_by_text("running").wait_for()
        await tab.get_by_role("heading", name="Last pages").wait_for()
        await playwright.expect(tab.locator("#jobs td.n").first).to_have_text(
            re.compile(r"^([2-9]\d|\d{3})$"), timeout=30_000
        )
        assert not await serious(tab)
        await shot(tab, "live")
        await detail.get_by_role("button", name="Pause Our own site").click()
        await detail.get_by_text("paused").wait_for()
        await tab.get_by_role("tab", name="Broken links").click()
        broken = tab.get_by_role("tabpanel").get_by_role("row").nth(1)
        assert site.at("/gone") in (await broken.text_content() or "")
        assert site.url in (await broken.text_content() or "")
        await shot(tab, "broken")
        await detail.get_by_role("button", name="Resume Our own site").click()
        await detail.get_by_text("running").wait_for()
        await detail.get_by_role("button", name="Cancel Our own site").click()
        await detail.get_by_text("cancelled").wait_for()
        await tab.get_by_role("tab", name="Why").click()
        await tab.keyboard.press("ArrowRight")
        assert await tab.evaluate("document.activeElement.textContent") == "Files"
        await tab.get_by_role("tab", name="Why").click()
        await tab.locator("#why-url").fill(site.at("/gone"))
        await tab.get_by_role("button", name="Show history").click()
        await tab.get_by_text("How it was found").wait_for()
        await tab.get_by_role("tab", name="Pages", exact=True).click()
        await tab.get_by_role("tabpanel").get_by_text("Start", exact=True).wait_for()
        await tab.get_by_role("tab", name="Files").click()
        async with tab.expect_download() as coming:
            await tab.get_by_role("button", name="Download pages.jsonl").click()
        assert (await (await coming.value).path()).stat().st_size > 1000
        assert not await serious(tab)


async def test_on_a_phone_in_the_dark_with_a_token_and_a_keyboard(
    tmp_path: Path, website: OpenSite
) -> None:
    from crawler.service.http.access import AccessToken, Role, token_hash  # noqa: PLC0415

    site = await website({"/": page("Start")})
    token = AccessToken("admin", token_hash("s" * 20), Role.ADMIN)
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True}
    async with service(tmp_path, (token,)) as opened, browser(**phone) as tab:
        async with Client(opened.url, "s" * 20) as client:
            job = await client.start(site.url, job={"name": "From the shell"})
            await client.until(job, "finished")
        await tab.route("**/*", lambda route: route.continue_())
        await tab.goto(opened.url)
        await tab.get_by_text("This service requires a token.").wait_for()
        await tab.locator("#token-input").fill("s" * 20)
        await tab.keyboard.press("Enter")
        await tab.get_by_role("button", name="From the shell", exact=True).focus()
        await tab.keyboard.press("Enter")
        await tab.get_by_role("region", name=re.compile("From the shell")).wait_for()
        assert await tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert not await serious(tab)
        await shot(tab, "phone")


async def test_a_person_downloads_files(tmp_path: Path, website: OpenSite) -> None:
    body = noise(2_000_000)
    digest = hashlib.sha256(body).hexdigest()
    site = await website(
        {
            "/large.bin": ranged(body, pause=0.1),
            "/small.bin": ranged(noise(5_000, 2)),
            "/wrong.bin": ranged(b"other"),
        }
    )
    async with service(tmp_path) as opened, browser(viewport={"width": 1280, "height": 900}) as tab:
        await tab.goto(opened.url)
        await tab.get_by_text("connected", exact=True).wait_for()
        await tab.get_by_role("button", name="New download").click()
        dialog = tab.get_by_role("dialog", name="New download")
        await dialog.get_by_role("button", name="Start").click()
        assert await tab.locator("#download-files-wrong").text_content() == "Needed."
        lines = [site.at("/small.bin"), f"{site.at('/large.bin')} sha256:12"]
        await tab.get_by_label("URLs, one per line").fill("\n".join(lines))
        await dialog.get_by_role("button", name="Start").click()
        await tab.get_by_text(re.compile("Line 2: .*sha256 has 64 digits")).wait_for()
        assert not await serious(tab)
        lines = [
            site.at("/small.bin"),
            f"{site.at('/large.bin')} sha256:{digest}",
            f"{site.at('/wrong.bin')} sha256:{digest}",
        ]
        await tab.get_by_label("URLs, one per line").fill("\n".join(lines))
        await tab.get_by_label("Name", exact=True).fill("Our files")
        await dialog.get_by_role("button", name="Start").click()
        detail = tab.get_by_role("region", name=re.compile("Our files"))
        await tab.get_by_role("heading", name="Under way").wait_for()
        # By path, not by a function: our content policy lets nobody evaluate strings.
        await tab.locator("xpath=//progress[@value > 300000]").first.wait_for()
        assert not await serious(tab)
        await shot(tab, "download")
        await detail.get_by_text("failed", exact=True).first.wait_for()
        await detail.get_by_text("1 of 3 files").wait_for()
        await tab.get_by_role("tab", name="Files").click()
        panel = tab.get_by_role("tabpanel")
        await panel.get_by_text(f"sha256:{digest}").first.wait_for()
        assert await panel.get_by_role("row").count() == 4
        async with tab.expect_download() as coming:
            await panel.get_by_role("button", name="Download large.bin").click()
        saved = await (await coming.value).path()
        assert Path(saved).read_bytes() == body
        assert not await serious(tab)
        await shot(tab, "files")
        await detail.get_by_role("button", name="Retry Our files").click()
        await detail.get_by_text("1 of 3 files").wait_for()
        await tab.set_viewport_size({"width": 390, "height": 800})
        assert await tab.evaluate("document.documentElement.scrollWidth") <= 390
