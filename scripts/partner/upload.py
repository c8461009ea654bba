#!/usr/bin/env python3
"""Uploads a file to a Konclave gateway as a blob, and goes on where it stopped however often either side is killed.

Run it again after a crash, with the same file: nothing is kept beside the file. The upload is announced under an
idempotency key that follows from the file's content, so the gateway finds it again and says how far it is. Needs
nothing but Python 3.9 and its standard library.

The access token (POST /oauth/token) is read from a file before each request, because tokens last minutes only: whoever
renews it replaces the file.
"""
from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import ssl
import sys
import time
import typing
import urllib.parse

PIECE = 1 << 20
# Without a byte to or from the gateway. After its restart it reads all that came before it answers.
SOCKET_SECONDS = 120
LONGEST_WAIT = 5.0


class Refused(Exception):
    """The gateway's answer will not change by asking again."""


class Later(Exception):
    """It may go on after a while."""


class Answer(typing.NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def problem(self) -> str:
        try:
            problem = json.loads(self.body)
            return f"{problem['title']}: {problem['detail']}"
        except (ValueError, KeyError, TypeError):
            return f"HTTP status {self.status}"

    def kind(self) -> str:
        try:
            return str(json.loads(self.body)["type"])
        except (ValueError, KeyError, TypeError):
            return ""

    def stand(self) -> tuple[int, bool]:
        """The next byte wanted, and whether the blob is there."""
        try:
            return int(self.headers["Upload-Offset"]), self.headers["Upload-Complete"] == "?1"
        except (TypeError, ValueError):
            raise Refused("this is no resumable upload: the answer has no Upload-Offset") from None


class Gateway:
    def __init__(self, url: str, ca: str | None, token_file: pathlib.Path) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise Refused(f"{url} is not https://HOST[:PORT]")
        self.host, self.port = parts.hostname, parts.port or 443
        self.context = ssl.create_default_context(cafile=ca)
        self.token_file = token_file

    def exchange(self, method: str, path: str, headers: dict[str, str], body: typing.Iterable[bytes], length: int) -> Answer:
        """One request on a connection of its own; the body is sent as it comes."""
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=SOCKET_SECONDS, context=self.context)
        try:
            connection.putrequest(method, path)
            connection.putheader("Authorization", "Bearer " + self.token_file.read_text(encoding="ascii").strip())
            for name, value in headers.items():
                connection.putheader(name, value)
            if method != "HEAD":
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            try:
                for piece in body:
                    connection.send(piece)
            except OSError:
                # The gateway may have answered before it read all of it; if not, reading the answer fails too.
                pass
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        if answer.status == 401 or answer.status == 429 or answer.status >= 500:
            raise Later(answer.problem())
        return answer


class Upload:
    """One file on its way to the gateway."""

    def __init__(self, gateway: Gateway, file: typing.BinaryIO, digest: str, rate: float, part: int) -> None:
        self.gateway, self.file, self.digest, self.part, self.rate = gateway, file, digest, part, rate
        self.bytes = os.fstat(file.fileno()).st_size
        self.path: str | None = None
        self.began_anew = 0

    def announce(self) -> tuple[int, bool]:
        body = json.dumps({"digest": self.digest, "bytes": self.bytes}).encode()
        key = f"upload-{self.digest}-{self.bytes}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = self.gateway.exchange("POST", "/v1/uploads", headers, [body], len(body))
        if answer.status != 201:
            raise Refused(answer.problem())
        self.path = answer.headers["Location"]
        print(f"upload {self.path}", flush=True)
        return answer.stand()

    def ask(self) -> tuple[int, bool]:
        """Where the upload stands; announces it if the gateway does not know it (any more)."""
        if self.path is not None:
            answer = self.gateway.exchange("HEAD", self.path, {}, [], 0)
            if answer.status == 204:
                return answer.stand()
            if answer.status != 404:
                raise Refused(f"HTTP status {answer.status}")
            self.path = None
        return self.announce()

    def append(self, offset: int) -> tuple[int, bool]:
        """Sends the next part."""
        length = min(self.part, self.bytes - offset)
        complete = offset + length == self.bytes
        headers = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1" if complete else "?0",
        }
        print(f"sending from {offset}", flush=True)
        assert self.path is not None
        answer = self.gateway.exchange("PATCH", self.path, headers, self.pieces(offset, length), length)
        if answer.status == 200:
            return answer.stand()
        if answer.kind().endswith("/digest-mismatch"):
            # Once may be a damaged disk or line; twice is this file.
            self.began_anew += 1
            if self.began_anew > 1:
                raise Refused(answer.problem())
            raise Later(answer.problem())
        if answer.status in (404, 409) or answer.kind().endswith("/upload-incomplete"):
            raise Later(answer.problem())
        if answer.status == 400:
            # The body broke off on its way.
            raise Later(answer.problem())
        raise Refused(answer.problem())

    def pieces(self, offset: int, length: int) -> typing.Iterator[bytes]:
        self.file.seek(offset)
        began, sent = time.monotonic(), 0
        while sent < length:
            piece = self.file.read(min(PIECE, length - sent))
            if not piece:
                raise Refused("the file became shorter while it was sent")
            yield piece
            sent += len(piece)
            print(f"at {offset + sent}", flush=True)
            if self.rate:
                time.sleep(max(0.0, sent / self.rate - (time.monotonic() - began)))


def run(upload: Upload, patience: float) -> None:
    """Sends all of it; gives up once the gateway has taken nothing for `patience` seconds."""
    wait, best, since = 0.2, -1, time.monotonic()
    while True:
        try:
            offset, complete = upload.ask()
            while not complete:
                if offset > best:
                    wait, best, since = 0.2, offset, time.monotonic()
                offset, complete = upload.append(offset)
            return
        except (OSError, http.client.HTTPException, Later) as error:
            if time.monotonic() - since > patience:
                raise Refused(f"no progress for {patience:.0f} s: {error}") from error
            print(f"trying again: {error or type(error).__name__}", file=sys.stderr, flush=True)
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)


def sha256(file: typing.BinaryIO) -> str:
    sha = hashlib.sha256()
    while piece := file.read(PIECE):
        sha.update(piece)
    return sha.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description="Upload a file as a blob; run it again after a crash, and it goes on.")
    parser.add_argument("--url", required=True, help="the gateway, https://HOST[:PORT]")
    parser.add_argument("--ca", help="the CA certificate (PEM) of the gateway; the system's without it")
    parser.add_argument("--token-file", required=True, type=pathlib.Path, help="a file with an access token")
    parser.add_argument("--digest", help="the file's SHA-256, if it is known; it is computed without it")
    parser.add_argument("--part-mib", type=int, default=64, help="MiB in one request (64)")
    parser.add_argument("--rate-mib", type=float, default=0, help="at most MiB a second; 0 for as fast as possible (0)")
    parser.add_argument("--patience", type=float, default=600, help="seconds without progress before it gives up (600)")
    parser.add_argument("file", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        gateway = Gateway(arguments.url, arguments.ca, arguments.token_file)
        with arguments.file.open("rb") as file:
            digest = arguments.digest or sha256(file)
            upload = Upload(gateway, file, digest, arguments.rate_mib * PIECE, max(1, arguments.part_mib) * PIECE)
            run(upload, arguments.patience)
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"complete {digest}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
