"""Headless Chromium, as a person uses it: what is on the screen, the keyboard, and pictures."""

import base64
import shutil
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cluster import ROOT

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage
--no-first-run --disable-background-networking --disable-component-update --disable-sync
--hide-scrollbars"""
AXE = ROOT / "tests/e2e/node/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE, DESKTOP = (390, 844), (1280, 800)
TRANSFERRED = """
return performance.getEntriesByType('navigation')
    .concat(performance.getEntriesByType('resource'))
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""


class Chromium:
    """A browser with a profile of its own. `with Chromium() as browser:` closes it."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="totp-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in FLAGS.split():
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={self.profile}")
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options, service)
        self.driver.set_page_load_timeout(120)
        self.driver.set_script_timeout(120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def look(self, size=PHONE, scheme="light"):
        """Chooses a size of the screen, and light or dark."""
        width, height = size
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        touch = {"enabled": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def forget(self):
        """Removes cookies and messages of the console."""
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Storage.clearCookies", {})
        self.driver.get_log("browser")

    # What a person does

    def open(self, url):
        self.driver.get(url)

    def find(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def fill(self, **fields):
        """Types into visible fields by their names."""
        for name, value in fields.items():
            (field,) = [f for f in self.named(name) if f.is_displayed()]
            field.clear()
            field.send_keys(value)

    def named(self, name):
        return self.driver.find_elements(By.NAME, name)

    def press(self, text):
        """Clicks a visible button, link or summary with this text, and waits for the next page."""
        words = f"normalize-space(.)='{text}'"
        path = f"//*[self::button or self::a or self::summary][{words}]"
        (found,) = [f for f in self.driver.find_elements(By.XPATH, path) if f.is_displayed()]
        stays = found.tag_name == "summary"
        page = self.find("html")
        found.click()
        if not stays:
            self.wait_for_next(page)

    def keys(self, *keys):
        """Types where the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, css):
        """Presses Tab until the element has the focus, which must be seen on the way."""
        is_there = "return document.activeElement.matches(arguments[0])"
        for _ in range(40):
            if self.driver.execute_script(is_there, css):
                return
            self.keys(Keys.TAB)
            outline = "return getComputedStyle(document.activeElement).outlineStyle"
            assert self.driver.execute_script(outline) != "none", "the focus cannot be seen"
        raise AssertionError(f"Tab does not reach {css}")

    def submit_by_keyboard(self):
        page = self.find("html")
        self.keys(Keys.ENTER)
        self.wait_for_next(page)

    def wait_for_next(self, page):
        def is_gone(_):
            loaded = self.driver.execute_script("return document.readyState") == "complete"
            return loaded and self.find("html") != page

        self.wait(is_gone)

    def wait(self, condition, seconds=60):
        # A page may be replaced between a look at it and the next.
        ignored = [StaleElementReferenceException]
        WebDriverWait(self.driver, seconds, 0.05, ignored).until(condition)

    # What a person sees

    @property
    def heading(self):
        return self.find("h1").text

    @property
    def text(self):
        return self.find("main").text

    def texts(self, css):
        return [found.text for found in self.driver.find_elements(By.CSS_SELECTOR, css)]

    @property
    def bytes(self):
        """The size of the page with everything that it loads."""
        return self.driver.execute_script(TRANSFERRED)

    def violations(self):
        """What axe finds against WCAG 2.2 AA."""
        self.driver.execute_script(AXE.read_text())
        run = "axe.run({runOnly: arguments[0]}).then(arguments[1], e => arguments[1](String(e)))"
        found = self.driver.execute_async_script(run, RULES)
        assert found["passes"], "axe checked nothing"
        return [
            f"{one['id']}: {node['html']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]

    def is_too_wide(self):
        wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return self.driver.execute_script(wide)

    def picture(self, path, form="png"):
        """Writes a picture of the whole page."""
        options = {"format": form, "captureBeyondViewport": True}
        if form == "webp":
            options["quality"] = 80
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        Path(path).write_bytes(base64.b64decode(data))
        return path

    def pdf(self, path):
        """Prints the page."""
        data = self.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
        Path(path).write_bytes(base64.b64decode(data))
        return path

    def cookies(self):
        """All cookies, with their attributes, by name."""
        found = self.driver.execute_cdp_cmd("Storage.getCookies", {})["cookies"]
        return {cookie["name"]: cookie for cookie in found}
