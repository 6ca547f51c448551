import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--no-first-run"]


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """open_page(javascript=…): a page whose every complaint, be it an error or a broken policy, fails the test."""
    contexts, complaints = [], []

    def open_page(javascript=True, **options):
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"} | options
        context = chromium.new_context(java_script_enabled=javascript, reduced_motion="reduce", **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.expected_statuses = []  # a test adds those that it provokes
        page.is_alone = False  # a test that stops the server says so

        def on_failure(request):
            left = request.failure == "net::ERR_ABORTED"  # what a live page was asking for when it was left
            if not left and not page.is_alone:
                complaints.append(f"{request.url}: {request.failure}")

        def on_console(message):
            if page.is_alone and "net::ERR_" in message.text:
                return
            refused = re.search(r"status of (\d+)", message.text)
            if refused and int(refused[1]) in page.expected_statuses:
                return
            if message.type in ("error", "warning"):
                complaints.append(f"{page.url}: {message.text}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        # what a live page was just asking for when it was left
        page.on("requestfailed", on_failure)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Where screenshots go: RETURNS_PICTURES; ./returns screenshots sets it."""
    folder = Path(os.environ.get("RETURNS_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
