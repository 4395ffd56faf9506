"""Chromium without a window, told what to do through its protocol."""

import base64
import json
import os
import select
import subprocess
import sys
import time

# Chromium speaks its protocol through the file descriptors 3 and 4.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, start=3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    # Root has no sandbox, and the only page that is opened is our own.
    "--no-sandbox",
)
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
PROBE = """({
    broken: [...document.images].filter(image => !image.naturalWidth).map(image => image.alt),
    images: document.images.length,
    width: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll("main *")].filter(
        element => element.getBoundingClientRect().right > innerWidth + 1
            && !element.closest(".scroll")).map(element => element.outerHTML.slice(0, 80)),
})"""


class Browser:
    """Chromium without a window, told what to do through its DevTools protocol."""

    def __init__(self, binary, profile):
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        ends = (theirs_in, theirs_out)
        command = [sys.executable, "-S", "-c", LAUNCH, *map(str, ends), binary, *OPTIONS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        self._received, self._n_sent, self._session, self.events = b"", 0, {}, []
        target = self("Target.createTarget", url="about:blank")["targetId"]
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._n_sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self, seconds=30):
        end = time.monotonic() + seconds
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            part = os.read(self._read, 1 << 16) if ready else b""
            assert part, f"Chromium has said nothing for {seconds} s, or has ended."
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def open(self, path, width, media=""):
        """Open a file at a width in CSS pixels and return what the probe finds there."""
        self.events.clear()
        self("Emulation.setEmulatedMedia", media=media)
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self("Page.navigate", url=path.resolve().as_uri())
        while not self.named("Page.loadEventFired"):
            self.events.append(self._receive())
        return self("Runtime.evaluate", expression=PROBE, returnByValue=True)["result"]["value"]

    def named(self, *names):
        return [event["params"] for event in self.events if event.get("method") in names]

    def photograph(self, path):
        shot = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        try:
            self("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
