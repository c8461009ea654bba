"""The connection to the gateway: TLS 1.3 with the site's certificate, JSON, problems, retries."""

import hashlib
import http.client
import json
import ssl
import time
import urllib.parse

from .encoding import Refused, sha256, to_json

ATTEMPTS, FIRST_WAIT = 6, 0.25


class Problem(Exception):
    """An answer of 400 and above: an RFC 9457 document."""

    def __init__(self, method, path, status, problem, retry_after):
        self.kind = problem.get("type", "").rpartition("/")[2]
        self.status, self.retry_after = status, retry_after
        super().__init__(f"{method} {path}: {status} {self.kind}: {problem.get('detail', '')}")

    @property
    def is_temporary(self):
        return self.status in (429, 503) or self.status >= 500

    @property
    def moves_on(self):
        """Too late or too early: the round or job is in another phase."""
        return self.kind in ("wrong-round", "conflict", "not-found")


class Gateway:
    def __init__(self, url, ca, certificate, key):
        address = urllib.parse.urlsplit(url)
        self.host, self.port = address.hostname, address.port or 443
        self.tls = ssl.create_default_context(cadata=ca)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.load_cert_chain(certificate, key)
        self.connection = None

    def _once(self, method, path, body, headers):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, self.port, timeout=60, context=self.tls)
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except BaseException:
            self.connection.close()
            self.connection = None
            raise
        if answer.status >= 400:
            is_problem = (answer.getheader("content-type") or "").startswith("application/problem+json")
            problem = json.loads(content) if is_problem else {}
            raise Problem(method, path, answer.status, problem, answer.getheader("retry-after"))
        return content

    def send(self, method, path, body=None, media_type="application/json"):
        headers = {} if body is None else {"content-type": media_type}
        if method == "POST":
            # The same statement always has the same key.
            headers["idempotency-key"] = sha256(body).hex()
        for attempt in range(1, ATTEMPTS + 1):
            wait = min(FIRST_WAIT * 2 ** (attempt - 1), 10)
            try:
                return self._once(method, path, body, headers)
            except Problem as problem:
                if not problem.is_temporary or attempt == ATTEMPTS:
                    raise
                wait = max(wait, min(float(problem.retry_after or 0), 10))
            except (OSError, http.client.HTTPException):
                if attempt == ATTEMPTS:
                    raise
            time.sleep(wait)
        raise AssertionError("unreachable")

    def get(self, path):
        return json.loads(self.send("GET", path))

    def put(self, path, message):
        self.send("PUT", path, to_json(message))

    def post(self, path, message):
        return json.loads(self.send("POST", path, to_json(message)))

    def blob(self, digest):
        content = self.send("GET", f"/v1/blobs/{digest.hex()}")
        if hashlib.sha256(content).digest() != digest:
            raise Refused("Blob", digest.hex())
        return content

    def upload(self, path, body, part):
        """In parts, each from the offset that the gateway names. Returns the number of parts."""
        parts, conflicts = 0, 0
        held = self.get(path)["offset"]
        while True:
            piece = body[held:held + part]
            try:
                receipt = self.send("PUT", f"{path}?offset={held}", piece, "application/octet-stream")
                held, parts = json.loads(receipt)["bytes"], parts + 1
            except Problem as problem:
                # The gateway has another offset than this site thinks: its word counts.
                conflicts += 1
                if problem.kind != "conflict" or conflicts == ATTEMPTS:
                    raise
                held = self.get(path)["offset"]
            if held >= len(body):
                return parts
