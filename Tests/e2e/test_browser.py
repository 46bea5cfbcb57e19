"""Signing in and out with a real browser, as a person does it."""

import base64
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait
from support.gateway import ACCOUNTS, COOKIE, Gateway

WAIT_SECONDS = 20


def key_fingerprint(certificate: Path) -> str:
    """The SHA-256 of a certificate's public key, which is how Chromium lets one name a certificate to trust."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, capture_output=True)
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


def start_browser(gateway: Gateway, folder: Path, javascript: bool = True) -> WebDriver:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    fingerprint = key_fingerprint(gateway.certificates / "cert.pem")
    options.add_argument(f"--ignore-certificate-errors-spki-list={fingerprint}")
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def browser(request, gateway: Gateway, tmp_path: Path) -> Iterator[WebDriver]:
    browser = start_browser(gateway, tmp_path / "profile", request.param)
    yield browser
    browser.quit()


def wait_for_url(browser: WebDriver, beginning: str) -> None:
    WebDriverWait(browser, WAIT_SECONDS).until(
        lambda _: browser.current_url.startswith(beginning), f"{browser.current_url} is not {beginning}"
    )


def sign_in(browser: WebDriver, name: str, password: str) -> None:
    for field, value in (("username", name), ("password", password)):
        browser.find_element(By.NAME, field).clear()
        browser.find_element(By.NAME, field).send_keys(value)
    browser.find_element(By.NAME, "password").submit()


def complaints(browser: WebDriver) -> list[str]:
    """What the browser's console has to say against the gateway's own pages."""
    return [entry["message"] for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]]


def test_a_person_signs_in_where_they_wanted_to_go_and_signs_out(gateway: Gateway, browser: WebDriver):
    browser.get(gateway.url("flask", "/reports"))
    wait_for_url(browser, gateway.url("iam", "/auth/login"))
    assert not complaints(browser)

    sign_in(browser, "legal@example.com", "wrong")
    wait_for_url(browser, gateway.url("iam", "/auth/login"))
    assert "password" in browser.page_source.lower()
    assert not [cookie for cookie in browser.get_cookies() if cookie["name"] == COOKIE]

    sign_in(browser, "legal@example.com", ACCOUNTS["legal@example.com"])
    wait_for_url(browser, gateway.url("flask", "/reports"))
    assert browser.find_element(By.TAG_NAME, "h1").text == "All reports"
    assert browser.find_element(By.ID, "user").text != "not signed in"

    browser.get(gateway.url("django", "/invoices/"))
    assert browser.find_element(By.TAG_NAME, "h1").text == "All invoices"

    browser.get(gateway.url("iam", "/auth/logout"))
    browser.find_element(By.CSS_SELECTOR, "form button, form input[type=submit]").click()
    WebDriverWait(browser, WAIT_SECONDS).until(
        lambda _: not [cookie for cookie in browser.get_cookies() if cookie["name"] == COOKIE]
    )
    browser.get(gateway.url("flask", "/reports"))
    wait_for_url(browser, gateway.url("iam", "/auth/login"))


def test_a_page_that_is_not_permitted_says_what_is_missing(gateway: Gateway, tmp_path: Path):
    browser = start_browser(gateway, tmp_path / "profile")
    try:
        cookie = gateway.as_user("sales@example.com").cookies[COOKIE]
        browser.get(gateway.url("flask", "/"))
        browser.add_cookie({"name": COOKIE, "value": cookie, "domain": "demo.localhost", "secure": True})
        browser.get(gateway.url("flask", "/reports"))
        assert "reports:read" in browser.page_source
        assert "Payroll" not in browser.page_source
    finally:
        browser.quit()


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example/", "javascript:alert(1)", "/%09/evil.example"]
)
def test_R60_nobody_is_led_elsewhere_after_signing_in(gateway: Gateway, tmp_path: Path, path: str):
    answer = gateway.get("iam", "/auth/login", params={"rd": path})
    assert answer.status_code == 200
    assert "evil.example" not in answer.headers.get("Location", "")
    assert 'href="javascript' not in answer.text.lower()


def test_the_sign_in_page_protects_itself(gateway: Gateway):
    fields = gateway.get("iam", "/auth/login").headers
    policy = fields["Content-Security-Policy"]
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert rule in policy
    assert "unsafe-inline" not in policy
    assert fields["Cache-Control"] == "no-store"


def test_a_form_without_its_token_signs_nobody_in(gateway: Gateway):
    form = {"username": "pm@example.com", "password": ACCOUNTS["pm@example.com"], "rd": "/"}
    with gateway.client("127.0.0.78") as client:
        for token in ({}, {"csrf": ""}, {"csrf": "A" * 43}):
            answer = client.post(gateway.url("iam", "/auth/login"), data={**form, **token}, allow_redirects=False)
            assert answer.status_code in (400, 403)
            assert COOKIE not in answer.cookies
