"""A partner system of the gateway: its key, its access tokens, what it reads."""
import base64
import json
import pathlib
import secrets
import threading
import time

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# What stands before the 32 secret bytes of an Ed25519 key in PKCS#8 (RFC 8410, section 7).
SEED_HEAD = bytes.fromhex("04220420")
# A token is renewed when less than this is left of it.
RENEW_BEFORE = 120.0


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Partner:
    """One registered client. Tokens last ten minutes and are asked for again before that."""

    def __init__(self, url: str, ca: str, client: str, key: pathlib.Path) -> None:
        self.url, self.client = url, client
        self.key = Ed25519PrivateKey.from_private_bytes(key.read_bytes().split(SEED_HEAD, 1)[1][:32])
        self.http = requests.Session()
        self.http.verify = ca
        # A CA or a proxy that the environment names would take the place of ours.
        self.http.trust_env = False
        self.known, self.until, self.lock = "", 0.0, threading.Lock()

    def assertion(self) -> str:
        now = int(time.time())
        claims = {"iss": self.client, "sub": self.client, "aud": self.url, "jti": secrets.token_hex(16),
                  "iat": now, "exp": now + 120}
        parts = ({"alg": "EdDSA", "typ": "JWT"}, claims)
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded(self.key.sign(signed.encode()))}"

    def token_request(self) -> dict[str, str]:
        return {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": self.assertion()}

    def token(self) -> str:
        with self.lock:
            if time.monotonic() > self.until:
                answer = self.http.post(f"{self.url}/oauth/token", data=self.token_request(), timeout=30)
                answer.raise_for_status()
                given = answer.json()
                self.known, self.until = given["access_token"], time.monotonic() + given["expires_in"] - RENEW_BEFORE
            return self.known

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """The JSON of an answer that is a success."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = self.http.request(method, self.url + path, headers=headers, json=body, timeout=30)
        if not answer.ok:
            raise SystemExit(f"{self.client}: {method} {path}: {answer.status_code} {answer.text}")
        return answer.json()
