"""A consortium for measuring: one member and one partner system, both with TLS certificates, and a served gateway."""
import base64
import dataclasses
import http.client
import json
import os
import pathlib
import secrets
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.parse

import second_client

second_client.install()
sys.path.insert(0, str(second_client.PACKAGES))

from cryptography import x509  # noqa: E402  (installed just above)
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

MEMBER, PARTNER = "site-a", "partner"
# Entries for small writes to correct: the registrations of so many clients that do nothing else.
OTHER_CLIENTS = 32
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
# Of an access token's ten minutes; a new one is asked for between two measurements, never within one.
TOKEN_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Identity:
    """A TLS client certificate with its key."""

    certificate: pathlib.Path
    key: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Programs:
    """What `make bench-api` builds."""

    folder: pathlib.Path

    def path(self, name: str) -> str:
        path = self.folder / name
        if not path.is_file():
            sys.exit(f"{path} is not there; `make bench-api` builds it, or name another folder with --bin")
        return str(path)

    def run(self, name: str, *arguments: object) -> None:
        command = [self.path(name), *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


class Server:
    """A running server on cores of its own."""

    def __init__(self, command: list[str], cores: set[int], log: pathlib.Path) -> None:
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        assert self.process.stdout is not None
        announced = self.process.stdout.readline().split()
        if announced[:2] != ["listening", "on"]:
            sys.exit(f"{command[0]} did not start: see {log}")
        self.port = urllib.parse.urlsplit(announced[2]).port
        self.url = f"https://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """The processor time of all its threads so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Deployment:
    """The files of the consortium, and what its member and its partner prove themselves with."""

    def __init__(self, programs: Programs, folder: pathlib.Path) -> None:
        self.programs, self.folder = programs, folder
        self.gateway = folder / "gateway"
        programs.run("konclave-gateway", "init", "--dir", self.gateway)
        self.ca = self.gateway / "tls" / "ca.pem"
        # All the load comes with one certificate, and each has a share of the connections and of the requests.
        file = self.gateway / "gateway.toml"
        file.write_text(file.read_text().replace("connections_per_address = 64\n", "connections_per_address = 256\n"))
        settings = tomllib.loads(file.read_text())
        assert settings["limits"]["connections_per_address"] == 256
        self.issuer = settings["public_url"]
        self.member = self._enrol()
        self.signer = ed25519.Ed25519PrivateKey.generate()
        self.partner = self._register()
        self.token_until, self.token = 0.0, ""

    def _enrol(self) -> Identity:
        folder, enrolment = self.folder / MEMBER, self.folder / "enrolment.json"
        self.programs.run("konclave-site", "init", "--dir", folder, "--site", MEMBER, "--legal-entity", "A Pharma")
        request = folder / "enrolment-request.json"
        self.programs.run("konclave-gateway", "enrol", "--dir", self.gateway, "--request", request, "--out", enrolment)
        certificate = folder / "tls.pem"
        certificate.write_text(json.loads(enrolment.read_text())["tls_certificate"])
        return Identity(certificate, folder / "keys" / "tls.key")

    def _register(self) -> Identity:
        public, request = self.folder / "partner.pub", self.folder / "partner.csr"
        identity = Identity(self.folder / "partner.pem", self.folder / "partner.key")
        pem = serialization.Encoding.PEM
        public.write_bytes(
            self.signer.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        add = ["client", "add", "--dir", self.gateway, "--organisation", "Acme", "--public-key", public]
        self.programs.run("konclave-gateway", *add, "--client-id", PARTNER, "--role", "operator")
        for number in range(OTHER_CLIENTS):
            self.programs.run("konclave-gateway", *add, "--client-id", f"other-{number}", "--role", "auditor")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, PARTNER)])
        asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        request.write_bytes(asked.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        identity.key.touch(mode=0o600)
        identity.key.write_bytes(private)
        certify = ["client", "certify", "--dir", self.gateway, "--client-id", PARTNER]
        self.programs.run("konclave-gateway", *certify, "--request", request, "--out", identity.certificate)
        return identity

    def serve(self, cores: set[int]) -> Server:
        command = [self.programs.path("konclave-gateway"), "serve", "--dir", str(self.gateway)]
        return Server([*command, "--listen", "127.0.0.1:0"], cores, self.folder / "gateway.log")

    def serve_constant(self, cores: set[int]) -> Server:
        command = [self.programs.path("examples/constant"), str(self.gateway)]
        return Server(command, cores, self.folder / "constant.log")

    def token_request(self) -> str:
        """The body of a request for an access token; each is good once, for a few minutes."""
        claims = {"iss": PARTNER, "sub": PARTNER, "aud": self.issuer, "jti": secrets.token_hex(16)}
        claims["exp"] = int(time.time()) + 290
        signed = f"{part({'alg': 'EdDSA', 'typ': 'JWT'})}.{part(claims)}"
        assertion = f"{signed}.{base64url(self.signer.sign(signed.encode()))}"
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE}
        return urllib.parse.urlencode({**form, "client_assertion": assertion})

    def partner_token(self, server: Server) -> str:
        """An access token bound to the partner's certificate."""
        if time.monotonic() > self.token_until:
            answer = self.exchange(server, "POST", "/oauth/token", {"Content-Type": FORM}, self.token_request())
            self.token = answer["access_token"]
            self.token_until = time.monotonic() + TOKEN_SECONDS
        return self.token

    def exchange(self, server: Server, method: str, path: str, headers: dict[str, str], body: str | None = None) -> dict:
        """One request over the partner's connection; the JSON of the answer."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.partner.certificate, self.partner.key)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)

    def correctable(self, server: Server) -> list[int]:
        """The entries that registered the other clients."""
        headers = {"Authorization": f"Bearer {self.partner_token(server)}"}
        page = self.exchange(server, "GET", "/v1/ledger/entries?action=client.registered&limit=500", headers)
        return [entry["index"] for entry in page["items"]]

    def ledger_size(self, server: Server) -> int:
        """How many entries the ledger has."""
        headers = {"Authorization": f"Bearer {self.partner_token(server)}"}
        return self.exchange(server, "GET", "/v1/ledger/checkpoint", headers)["size"]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: dict) -> str:
    return base64url(json.dumps(value).encode())
