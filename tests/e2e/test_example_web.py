"""The site of examples/web, walked through in a browser.

TOTP_IMAGES names a directory for pictures of the pages, which scripts/screenshots sets.
"""

import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from pypdf import PdfReader
from selenium.webdriver.common.keys import Keys

from authenticator import Authenticator
from chromium import DESKTOP, PHONE, Chromium
from cluster import ROOT, until
from conftest import install
from picture import read_qr

# A test takes seconds, but minutes on a machine that is busy.
pytestmark = [pytest.mark.once, pytest.mark.timeout(600)]
SITE = ROOT / "examples/web"
PASSWORD = "correct horse battery"
LOCKOUT = 6
MAX_BYTES = 60_000
SIZES = {"phone": PHONE, "desktop": DESKTOP}
SENDMAIL = """#!/bin/sh
cat > "$0.mail.new" && mv "$0.mail.new" "$0.mail"
"""


class Site:
    """The site, running; its database; and the mail that it has sent."""

    def __init__(self, cluster, directory):
        self.cluster = cluster
        self.sendmail = directory / "sendmail"
        self.sendmail.write_text(SENDMAIL)
        self.sendmail.chmod(0o755)
        with socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        self.url = f"http://localhost:{port}"
        variables = {
            **cluster.variables,
            **{"PGUSER": "web", "PGDATABASE": "web", "SECRET_KEY": secrets.token_hex()},
            **{"SENDMAIL": str(self.sendmail), "SITE_URL": self.url},
        }
        flask = [sys.executable, "-m", "flask", "--app", "app", "run", "--port", str(port)]
        with (directory / "log").open("w") as log:
            self.process = subprocess.Popen(
                flask, cwd=SITE, env={**os.environ, **variables}, stdout=log, stderr=log
            )
        until(self.answers, 60, "a site that answers", pause=0.1)

    def answers(self):
        assert self.process.poll() is None, "the site has ended"
        try:
            return urlopen(f"{self.url}/login").status == 200
        except URLError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    @contextmanager
    def lockout(self, length):
        """How long the first lock is."""
        self.cluster.configure(totp__lockout=length)
        yield
        self.cluster.configure(totp__lockout=None)

    def value(self, query, *parameters):
        with self.cluster.connect(dbname="web") as connection:
            return connection.execute(query, parameters).fetchone()[0]

    def link(self):
        """The link in the mail that was sent last, which is then removed."""
        mail = Path(f"{self.sendmail}.mail")
        until(mail.exists, what="mail")
        (link,) = re.findall(r"^http\S+", mail.read_text(), re.MULTILINE)
        mail.unlink()
        return link


@pytest.fixture(scope="module")
def site(cluster, tmp_path_factory):
    with cluster.database("web"):
        install(cluster, "web")
        cluster.execute((SITE / "schema.sql").read_text(), dbname="web")
        site = Site(cluster, tmp_path_factory.mktemp("site"))
        try:
            yield site
        finally:
            site.stop()
    cluster.execute("DROP ROLE web")


@pytest.fixture(scope="module")
def chromium():
    with Chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium):
    """A browser that has been nowhere, on a phone."""
    chromium.forget()
    chromium.look(PHONE)
    return chromium


class Visitor:
    """A person with a browser, a phone and paper."""

    def __init__(self, site, browser, directory):
        self.site, self.browser, self.directory = site, browser, directory
        self.email = f"alice-{secrets.token_hex(3)}@example.com"
        self.phone, self.codes = None, []

    def sign_up(self):
        self.browser.open(f"{self.site.url}/signup")
        self.browser.fill(email=self.email, password=PASSWORD)
        self.browser.press("Sign up")

    def scan(self):
        """Reads the QR code on the screen."""
        picture = self.browser.picture(self.directory / "qr.png")
        self.phone = Authenticator(read_qr(picture))

    def enrol(self):
        self.browser.press("Turn it on")
        self.scan()
        self.browser.fill(code=self.phone.take(time.time()))
        self.browser.press("Turn on two-step login")
        self.codes = self.browser.texts(".codes code")
        self.browser.press("I have saved these codes")

    def log_in(self, password=PASSWORD):
        self.browser.open(f"{self.site.url}/login")
        self.browser.fill(email=self.email, password=password)
        self.browser.press("Log in")

    def log_out(self):
        self.browser.press("Log out")

    def give_backup_code(self):
        self.browser.press("Use a backup code")
        self.browser.fill(code=self.codes.pop())
        self.browser.press("Log in")


@pytest.fixture
def visitor(site, browser, tmp_path):
    return Visitor(site, browser, tmp_path)


@pytest.fixture
def enrolled(visitor):
    visitor.sign_up()
    visitor.enrol()
    return visitor


def test_the_code_that_the_phone_scans_turns_two_step_login_on(visitor, browser):
    visitor.sign_up()
    assert "Two-step login is off" in browser.text
    browser.press("Turn it on")
    visitor.scan()
    assert visitor.phone.totp.name == visitor.email and visitor.phone.totp.issuer == "Acme"
    browser.press("Can’t scan? Type a key")
    assert browser.find(".secret").text.replace(" ", "") == visitor.phone.totp.secret
    # A wrong code leaves the same QR code on the page.
    browser.fill(code=visitor.phone.wrong(time.time()))
    browser.press("Turn on two-step login")
    assert "That code is wrong" in browser.text
    scanned = visitor.phone.totp.secret
    visitor.scan()
    assert visitor.phone.totp.secret == scanned
    browser.fill(code=visitor.phone.take(time.time()))
    browser.press("Turn on two-step login")
    assert browser.heading == "Your backup codes for Acme"
    assert len(set(browser.texts(".codes code"))) == 10
    browser.press("I have saved these codes")
    assert "Two-step login is on" in browser.text and "10 left" in browser.text


def test_a_login_takes_the_password_and_a_code(enrolled, browser):
    enrolled.log_out()
    enrolled.log_in("wrong password")
    assert "The email address or the password is wrong." in browser.text
    enrolled.log_in()
    assert browser.heading == "Enter your code"
    browser.open(enrolled.site.url)
    assert browser.heading == "Log in", "the password alone is not enough"
    enrolled.log_in()
    browser.fill(code=enrolled.phone.take(time.time()))
    browser.press("Log in")
    assert browser.heading == "Account"


def test_a_backup_code_logs_in_once(enrolled, browser):
    enrolled.log_out()
    enrolled.log_in()
    spent = enrolled.codes[-1]
    enrolled.give_backup_code()
    assert browser.heading == "Account" and "9 left" in browser.text
    enrolled.log_out()
    enrolled.log_in()
    enrolled.codes.append(spent)
    enrolled.give_backup_code()
    assert "That code is wrong, or was used before" in browser.text


def test_a_remembered_browser_is_not_asked_until_all_are_forgotten(enrolled, browser):
    enrolled.log_out()
    enrolled.log_in()
    browser.find("[name=remember]").click()
    browser.fill(code=enrolled.phone.take(time.time()))
    browser.press("Log in")
    cookies = browser.cookies()
    for name in "__Host-session", "__Host-device":
        assert cookies[name]["secure"] and cookies[name]["httpOnly"]
        assert cookies[name]["sameSite"] == "Lax"
    enrolled.log_out()
    enrolled.log_in()
    assert browser.heading == "Account"
    browser.press("Ask for a code in all browsers")
    enrolled.log_out()
    enrolled.log_in()
    assert browser.heading == "Enter your code"


@pytest.fixture
def short_lock(site):
    with site.lockout(f"{LOCKOUT}s"):
        yield


def test_a_lock_counts_down_and_ends(enrolled, browser, short_lock):
    enrolled.log_out()
    enrolled.log_in()
    for _ in range(5):
        browser.fill(code=enrolled.phone.wrong(time.time()))
        browser.press("Log in")
    assert "Too many wrong codes" in browser.text
    enrolled.log_in()
    seconds = int(browser.find("[role=timer]").text.removeprefix("0:"))
    assert 0 < seconds <= LOCKOUT
    button = browser.find("form[data-wait] button")
    assert not button.is_enabled()
    assert "backup code" not in browser.text, "a lock refuses those, too"
    browser.wait(lambda _: int(browser.find("[role=timer]").text.removeprefix("0:")) < seconds)
    browser.wait(lambda _: "You can try again now." in browser.text)
    assert button.is_enabled()
    browser.fill(code=enrolled.phone.take(time.time()))
    browser.press("Log in")
    assert browser.heading == "Account"


def test_a_payment_takes_a_code_for_exactly_this_payment(enrolled, browser):
    browser.press("Pay")
    browser.fill(recipient="Bob’s Bikes", amount="12.50")
    browser.press("Continue")
    assert "Bob’s Bikes" in browser.text and "12.50 EUR" in browser.text
    browser.fill(code=enrolled.phone.wrong(time.time()))
    browser.press("Pay 12.50 EUR")
    count = "SELECT count(*) FROM payments JOIN users ON users.id = payer WHERE email = %s"
    assert "That code is wrong" in browser.text and enrolled.site.value(count, enrolled.email) == 0
    browser.fill(code=enrolled.phone.take(time.time()))
    browser.press("Pay 12.50 EUR")
    assert "The payment was made." in browser.text and "12.50 EUR" in browser.text
    assert enrolled.site.value(count, enrolled.email) == 1


def test_a_payment_needs_two_step_login(visitor, browser):
    visitor.sign_up()
    browser.press("Pay")
    assert (
        browser.heading == "Set up two-step login"
        and "Payments need two-step login" in browser.text
    )


def test_a_device_is_added_and_removed_with_a_code(enrolled, browser):
    browser.open(f"{enrolled.site.url}/enrol")
    assert "To add a device, enter a code first." in browser.text
    browser.press("Add a device")
    browser.fill(label="Tablet", code=enrolled.codes.pop())
    browser.press("Continue")
    enrolled.scan()
    assert enrolled.phone.totp.name == f"{enrolled.email} (Tablet)"
    browser.fill(code=enrolled.phone.take(time.time()))
    browser.press("Turn on two-step login")
    assert "The device was added." in browser.text and "Tablet" in browser.text
    browser.press("Remove Tablet")
    browser.fill(code="000000")
    browser.press("Remove")
    assert "That code is wrong" in browser.text and "Tablet" in browser.text
    browser.press("Remove Tablet")
    browser.fill(code=enrolled.codes.pop())
    browser.press("Remove")
    assert "The device was removed." in browser.text and "Tablet" not in browser.text


def test_new_backup_codes_replace_the_old_ones(enrolled, browser):
    browser.press("Make new codes")
    browser.find("#backup").send_keys(enrolled.codes[0])
    browser.find("#backup ~ button").click()
    browser.wait(lambda _: browser.heading == "Your backup codes for Acme")
    shown = browser.texts(".codes code")
    assert len(shown) == 10 and not set(shown) & set(enrolled.codes)


def test_a_recovery_link_opens_a_page_and_its_button_acts_once(enrolled, browser):
    site = enrolled.site
    enrolled.log_out()
    enrolled.log_in()
    browser.press("I have lost my phone")
    browser.press("Send the email")
    assert "We have sent you an email." in browser.text
    link = site.link()
    enabled = "SELECT totp.totp_enabled(id::text) FROM users WHERE email = %s"
    with urlopen(link) as answer:  # a mail scanner
        assert answer.status == 200
    assert site.value(enabled, enrolled.email) is True
    browser.open(link)
    browser.fill(password="wrong password")
    browser.press("Turn off two-step login")
    assert "password is wrong" in browser.text and site.value(enabled, enrolled.email) is True
    browser.fill(password=PASSWORD)
    browser.press("Turn off two-step login")
    assert "Two-step login is off." in browser.text
    assert site.value(enabled, enrolled.email) is False
    browser.open(link)
    browser.fill(password=PASSWORD)
    browser.press("Turn off two-step login")
    assert "This link was used before." in browser.text


def test_a_form_of_another_site_is_refused(enrolled, browser):
    browser.driver.execute_script("document.querySelector('[name=csrf]').value = 'another'")
    browser.press("Log out")
    assert "This form is too old." in browser.text
    browser.open(enrolled.site.url)
    assert browser.heading == "Account"


def test_the_keyboard_is_enough(visitor, browser):
    browser.open(f"{visitor.site.url}/signup")
    browser.tab_to("#email")
    browser.keys(visitor.email, Keys.TAB, PASSWORD)
    browser.submit_by_keyboard()
    browser.tab_to("main a.button")
    browser.submit_by_keyboard()
    visitor.scan()
    browser.tab_to("summary")
    browser.keys(Keys.SPACE)
    assert browser.find(".secret").is_displayed()
    browser.tab_to("#code")
    browser.keys(visitor.phone.take(time.time()))
    browser.submit_by_keyboard()
    browser.tab_to("main p:last-child a.button")
    browser.submit_by_keyboard()
    browser.tab_to("header button")
    browser.submit_by_keyboard()
    browser.tab_to("#email")
    browser.keys(visitor.email, Keys.TAB, PASSWORD)
    browser.submit_by_keyboard()
    # The field for the code has the focus already.
    browser.keys(visitor.phone.take(time.time()))
    browser.submit_by_keyboard()
    assert browser.heading == "Account"


def test_printed_backup_codes_are_the_codes_and_no_buttons(visitor, browser, tmp_path):
    visitor.sign_up()
    browser.press("Turn it on")
    visitor.scan()
    browser.fill(code=visitor.phone.take(time.time()))
    browser.press("Turn on two-step login")
    shown = browser.texts(".codes code")
    assert browser.find("[data-print]").is_displayed()
    (page,) = PdfReader(browser.pdf(tmp_path / "codes.pdf")).pages
    printed = page.extract_text()
    assert len(shown) == 10 and all(code in printed for code in shown)
    assert printed.startswith("Acme"), "whoever finds the paper must know what it is for"
    assert not any(
        button in printed for button in ("Save as", "Log out", "I have saved these codes")
    )
    saved = browser.find("[download]").get_attribute("href")
    assert all(code in saved for code in shown)


@pytest.fixture
def long_lock(site):
    """A lock that lasts until the page was looked at; for new connections of the site."""
    with site.lockout("5min"):
        yield


def test_every_page_is_accessible_and_small_in_both_sizes_and_colours(visitor, browser, long_lock):
    """Keeps pictures of some pages, if it is told where."""
    images = os.environ.get("TOTP_IMAGES")

    def look(name, keep=()):
        assert not browser.driver.get_log("browser"), name
        assert browser.bytes < MAX_BYTES, f"{name}: {browser.bytes} bytes"
        for device, size in SIZES.items():
            for scheme in "light", "dark":
                browser.look(size, scheme)
                if images and f"{device} {scheme}" in keep:
                    browser.picture(f"{images}/{name}-{device}-{scheme}.webp", "webp")
                assert browser.violations() == [], f"{name}, {device}, {scheme}"
                assert not browser.is_too_wide(), f"{name}, {device}"
        browser.look(PHONE)

    browser.open(f"{visitor.site.url}/signup")
    look("signup")
    visitor.sign_up()
    look("account-off")
    browser.press("Turn it on")
    visitor.scan()
    look("enrolment", {"phone light", "desktop dark"})
    for size in SIZES.values():
        browser.look(size)
        assert browser.find("p.on-phone").is_displayed() == (size == PHONE)
    browser.look(PHONE)
    browser.press("Can’t scan? Type a key")
    look("enrolment-key")
    browser.fill(code=visitor.phone.take(time.time()))
    browser.press("Turn on two-step login")
    visitor.codes = browser.texts(".codes code")
    look("backup-codes", {"phone light", "desktop dark"})
    browser.press("I have saved these codes")
    browser.press("Add a device")
    browser.press("Make new codes")
    look("account")
    browser.press("Pay")
    look("pay")
    browser.fill(recipient="Bob’s Bikes", amount="12.50")
    browser.press("Continue")
    look("approve")
    browser.open(f"{visitor.site.url}/nothing")
    browser.driver.get_log("browser")  # that the page is missing
    look("error")
    visitor.log_out()
    look("login")
    visitor.log_in()
    look("login-code", {"phone dark", "desktop light"})
    browser.press("Use a backup code")
    look("login-backup-code")
    browser.press("I have lost my phone")
    look("lost")
    browser.press("Send the email")
    look("mailed")
    browser.open(visitor.site.link())
    look("recover")
    visitor.log_in()
    for _ in range(4):
        browser.fill(code="000000")
        browser.press("Log in")
    look("wrong-code")
    browser.fill(code="000000")
    browser.press("Log in")
    visitor.log_in()
    look("lock", {"phone dark", "desktop light"})
