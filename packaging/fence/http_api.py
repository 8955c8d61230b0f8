"""What both example hooks share: their input and answer, a token from a file,
and HTTP calls that never outlast the deadline. Python's standard library alone.

Rules that a hook must keep, whatever it calls:
- it may be called again for the same host, also by another coordinator at the
  same time: doing it twice must be the same as doing it once;
- it says "confirmed" only when it has seen that the thing is true, never
  because a request was accepted;
- what it does not know it calls "unknown": that is not a fault of the hook.
"""

import json
import os
import stat
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Left for saying what came of it, before the coordinator ends us: this long, or
# a tenth of the deadline when that is more.
MARGIN_SECONDS = 0.5
MARGIN_PART = 0.1
# One call: a slow API must leave room for asking again.
CALL_SECONDS = 5.0
# Between two looks, unless the configuration says otherwise.
EVERY_SECONDS = 1.0
# An answer is a small document; more is not read.
BODY_MAX = 1 << 20


class Failed(Exception):
    """It cannot work, however often it is tried: a person must look."""


class NotKnown(Exception):
    """This call brought no answer that can be used; another one may."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to somewhere that nobody named."""

    def redirect_request(self, *_):
        return None


def age_seconds():
    """How long this process has lived: on a busy machine the interpreter's own
    start takes its part of the deadline."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            # proc(5): the 22nd field, the 20th after the name's bracket.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


class Hook:
    """One call of the coordinator: what it asks, and how long there is."""

    def __init__(self):
        self.asked = json.load(sys.stdin)
        limit = self.asked["deadline_ms"] / 1000
        margin = max(MARGIN_SECONDS, limit * MARGIN_PART)
        self.ends = time.monotonic() - age_seconds() + limit - margin
        self.opener = urllib.request.build_opener(NoRedirect)
        if len(sys.argv) != 2:
            raise Failed("usage: name the hook's configuration as its only argument")
        with open(sys.argv[1], encoding="utf-8") as file:
            self.config = json.load(file)
        known = self.config["hosts"].get(self.asked["host"])
        if known is None:
            raise Failed(f"{sys.argv[1]} does not name host {self.asked['host']}")
        self.words = {"host": self.asked["host"], **known}
        self.token = self.read_token()

    def read_token(self):
        path = self.config.get("token_file")
        if path is None:
            return None
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise Failed(f"{path} can be read by others; chmod 600 it")
        with open(path, encoding="utf-8") as file:
            return file.read().strip()

    def left(self):
        return self.ends - time.monotonic()

    def pause(self):
        """Waits for the next look; false when there is no time for one."""
        wait = float(self.config.get("every_seconds", EVERY_SECONDS))
        if self.left() <= wait:
            return False
        time.sleep(wait)
        return True

    def call(self, what):
        """One HTTP call of the configuration: its status and its document."""
        words = {name: urllib.parse.quote(str(word), safe="") for name, word in self.words.items()}
        url = what["url"].format(**words)
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise Failed(f"{url} is not https: the token would go in the clear")
        body = what.get("body")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=what.get("method", "GET"))
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.token is not None:
            header = self.config.get("token_header", "Authorization")
            request.add_header(header, self.config.get("token_prefix", "Bearer ") + self.token)
        return self.send(request)

    def send(self, request):
        limit = min(CALL_SECONDS, self.left())
        if limit <= 0:
            raise NotKnown("no time left")
        where = f"{request.get_method()} {request.full_url}"
        try:
            with self.opener.open(request, timeout=limit) as answer:
                return answer.status, self.document(where, answer.read(BODY_MAX))
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise Failed(f"{where}: HTTP {error.code}; check the token and its rights") from None
            return error.code, None
        except (OSError, ValueError) as error:
            raise NotKnown(f"{where}: {error}") from None

    @staticmethod
    def document(where, text):
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except ValueError:
            raise NotKnown(f"{where}: the answer is not JSON") from None

    def order(self, what):
        """Asks for a change. What came of it is seen by looking, not by the answer."""
        status, _ = self.call(what)
        if status >= 500 or status == 429:
            raise NotKnown(f"{what['url']}: HTTP {status}")

    def look(self, what):
        """Looks, and answers what stands at the configured path of the document."""
        status, document = self.call(what)
        if status != 200:
            raise NotKnown(f"{what['url']}: HTTP {status}")
        for name in what["path"].split("."):
            if not isinstance(document, dict) or name not in document:
                raise NotKnown(f"{what['url']}: the answer has no {what['path']}")
            document = document[name]
        return document


def run(work):
    """Runs `work(hook)`, which answers a verdict and words, and prints the answer."""
    hook = None
    try:
        hook = Hook()
        verdict, detail = work(hook)
    except Failed as error:
        verdict, detail = "failed", str(error)
    except (KeyError, OSError, TypeError, ValueError, NotKnown) as error:
        verdict, detail = "unknown", f"{type(error).__name__}: {error}"
    asked = hook.asked if hook is not None else {}
    answer = {"verdict": verdict, "detail": detail}
    answer.update({name: asked[name] for name in ("host", "epoch") if name in asked})
    print(json.dumps(answer))


def until(hook, attempt):
    """Tries until `attempt()` answers words for "confirmed", or the time is over."""
    nothing = "no time to look even once"
    last = nothing
    while True:
        try:
            done, words = attempt()
            if done:
                return "confirmed", words
            last = words
        except NotKnown as error:
            # What ran out of time says less than the look before it.
            if hook.left() > 0 or last == nothing:
                last = str(error)
        if not hook.pause():
            return "unknown", f"not seen in time: {last}"
