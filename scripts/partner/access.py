"""What every program of a partner system needs: access tokens by private_key_jwt, and problems told as errors.

The client is generated from openapi.json (scripts/api_client.py); only the assertion of RFC 7523 is made here.
"""
from __future__ import annotations

import argparse
import base64
import json
import pathlib
import secrets
import ssl
import sys
import time
import typing

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from konclave_client import AuthenticatedClient, Client
from konclave_client.api.tokens import issue_token, read_authorization_server
from konclave_client.models import AuthorizationServer, Problem, TokenRequest, TokenResponse
from konclave_client.types import Response

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 120
# A token is renewed when it has less than this left.
RENEW_SECONDS = 60
REQUEST_SECONDS = 60.0

T = typing.TypeVar("T")


class Refused(Exception):
    """The gateway answered with a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail} (request {problem.request_id})")
        self.problem = problem


def expect(kind: type[T], answer: Response[typing.Any]) -> T:
    """The answer as what the operation gives when it succeeds."""
    if isinstance(answer.parsed, kind):
        return answer.parsed
    if isinstance(answer.parsed, Problem):
        raise Refused(answer.parsed)
    raise SystemExit(f"HTTP status {answer.status_code.value} is not in the document: {answer.content[:200]!r}")


class Access:
    """One registered client's access to a gateway: its key and its current token."""

    def __init__(self, url: str, ca: str, client_id: str, key_file: pathlib.Path) -> None:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise SystemExit(f"{key_file} holds no Ed25519 key: openssl genpkey -algorithm ed25519")
        self.url, self.client_id, self.key = url.rstrip("/"), client_id, key
        self.tls = ssl.create_default_context(cafile=ca)
        self.open = Client(base_url=self.url, verify_ssl=self.tls, timeout=httpx.Timeout(REQUEST_SECONDS))
        self.server = expect(AuthorizationServer, read_authorization_server.sync_detailed(client=self.open))
        self.current: AuthenticatedClient | None = None
        self.good_until = 0.0

    def assertion(self) -> str:
        """A JWT that shows who asks (RFC 7523, section 3)."""
        now = int(time.time())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.server.issuer,
            "jti": secrets.token_hex(16),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        signed = f"{base64url({'alg': 'EdDSA', 'typ': 'JWT'})}.{base64url(claims)}"
        return f"{signed}.{base64url(self.key.sign(signed.encode()))}"

    def client(self) -> AuthenticatedClient:
        """A client whose token is good for the next request: ask for it anew each time."""
        if self.current is None or time.monotonic() > self.good_until:
            request = TokenRequest(
                grant_type="client_credentials", client_assertion_type=ASSERTION_TYPE, client_assertion=self.assertion()
            )
            token = expect(TokenResponse, issue_token.sync_detailed(client=self.open, body=request))
            self.good_until = time.monotonic() + token.expires_in - RENEW_SECONDS
            self.current = AuthenticatedClient(
                base_url=self.url,
                token=token.access_token,
                verify_ssl=self.tls,
                timeout=httpx.Timeout(REQUEST_SECONDS),
            )
        return self.current


def base64url(value: bytes | dict[str, typing.Any]) -> str:
    """As JWTs write bytes and JSON (RFC 7515, section 2)."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every such program takes."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--url", required=True, help="the gateway, https://HOST[:PORT]")
    arguments.add_argument("--ca", required=True, help="the CA certificate (PEM) of the gateway")
    arguments.add_argument("--client", required=True, help="the id under which the operator registered the key")
    arguments.add_argument("--key", required=True, type=pathlib.Path, help="the client's private Ed25519 key (PEM)")
    return arguments


def access(given: argparse.Namespace) -> Access:
    """The access that the arguments tell of."""
    return Access(given.url, given.ca, given.client, given.key)


def run(program: typing.Callable[[], None]) -> typing.NoReturn:
    """Runs a program; what the gateway refuses, and what stops it, goes to standard error."""
    try:
        program()
    except (Refused, httpx.HTTPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.exit(0)
