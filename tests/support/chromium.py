"""Drives a headless Chromium through its driver, by WebDriver's plain HTTP: no package is needed for that.

Source: W3C WebDriver, https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
]
_WAIT_SECONDS = 15.0
CONTROL, ENTER = "\ue009", "\ue007"


class Chromium:
    """One browser with its own cookies."""

    def __init__(self, driver: httpx.Client, flags: list[str]) -> None:
        options = {"binary": CHROMIUM, "args": flags}
        always = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = driver.post("/session", json={"capabilities": {"alwaysMatch": always}}).json()["value"]
        self._driver = driver
        self._path = f"/session/{session['sessionId']}"

    def _do(self, method: str, what: str, **values: Any) -> Any:
        answer = self._driver.request(method, f"{self._path}/{what}", json=values if method == "POST" else None)
        value = answer.json()["value"]
        if isinstance(value, dict) and "error" in value:
            raise LookupError(f"{what} {values}: {value['message']}")
        return value

    def open(self, url: str) -> None:
        self._do("POST", "url", url=url)

    @property
    def url(self) -> str:
        return str(self._do("GET", "url"))

    def size(self, width: int, height: int) -> None:
        """Of the page, not the window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._do("POST", "goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=metrics)

    def find(self, selector: str) -> str:
        """The id of the first element, once there is one."""
        give_up_at = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                found = self._do("POST", "element", using="css selector", value=selector)
                return str(found[_ELEMENT])
            except LookupError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.05)

    def click(self, selector: str) -> None:
        self._do("POST", f"element/{self.find(selector)}/click")

    def write(self, selector: str, text: str) -> None:
        self._do("POST", f"element/{self.find(selector)}/value", text=text)

    def press(self, *keys: str) -> None:
        """Presses keys together, wherever the focus is."""
        down = [{"type": "keyDown", "value": key} for key in keys]
        up = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._do("POST", "actions", actions=[{"type": "key", "id": "keyboard", "actions": [*down, *up]}])

    def run(self, script: str) -> Any:
        """The return value of a script."""
        return self._do("POST", "execute/sync", script=script, args=[])

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def wait_for(self, words: str) -> None:
        """Until the page says so."""
        give_up_at = time.monotonic() + _WAIT_SECONDS
        while words not in (seen := self.text()):
            assert time.monotonic() < give_up_at, f"{words!r} is not in:\n{seen}"
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """Saves a picture of the page, as PNG."""
        path.write_bytes(base64.b64decode(self._do("GET", "screenshot")))

    def media(self, kind: str) -> None:
        """Shows the page as `print` would have it, or as `screen`."""
        self._do("POST", "goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"media": kind})

    def double_click(self, selector: str) -> None:
        at = {"origin": {_ELEMENT: self.find(selector)}, "x": 0, "y": 0}
        click = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        actions = [{"type": "pointerMove", **at}, *click, *click]
        self._do("POST", "actions", actions=[{"type": "pointer", "id": "mouse", "actions": actions}])

    def forget_cookies(self) -> None:
        """As after a session has ended."""
        self._do("DELETE", "cookie")

    def complaints(self) -> list[str]:
        """Errors that the browser logged since the last call, the content policy's refusals among them."""
        return [entry["message"] for entry in self._do("POST", "se/log", type="browser") if entry["level"] == "SEVERE"]

    def close(self) -> None:
        self._driver.delete(self._path)


@contextlib.contextmanager
def browsers(folder: Path) -> Iterator[Any]:
    """Gives a function that opens a browser; all are closed in the end."""
    assert DRIVER
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = next(found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        opened: list[Chromium] = []
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as driver:

            def another() -> Chromium:
                flags = [*_FLAGS, f"--user-data-dir={folder / f'profile{len(opened)}'}"]
                opened.append(Chromium(driver, flags))
                return opened[-1]

            try:
                yield another
            finally:
                for browser in opened:
                    browser.close()
                process.terminate()
