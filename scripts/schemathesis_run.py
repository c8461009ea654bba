#!/usr/bin/env python3
"""Tries every operation of a running gateway in every role, with generated requests, and compares all answers with
openapi/openapi.json: no 5xx, no status, header or media type that is not documented, no body that its schema does not
allow, no request taken that the document does not, nothing for a role that is not let in.

schemathesis comes from the Python package index, pinned with all it needs, into third_party/schemathesis/. What is
checked is in tests/contract/schemathesis.toml; how requests are filled with what is in the gateway, in
tests/contract/hooks.py. The folder of --credentials holds for each partner role ROLE.pk8, the Ed25519 key (PKCS#8, DER)
of a client whose id is the role, and for site and evaluator ROLE.pem, a member's TLS certificate and key. The gateway
must hold a finished job that the model developer's organisation asked for.

EXAMPLES in the environment is how many requests are generated for an operation, SEED the seed they follow from.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "openapi.json"
REQUIREMENTS = ROOT / "scripts" / "schemathesis_requirements.txt"
FOLDER = ROOT / "third_party" / "schemathesis"
PACKAGES = FOLDER / "packages"
CONTRACT = ROOT / "tests" / "contract"
# How many operations answer each role with success, at the least: with fewer, requests no longer get to where the work
# is done, and that nothing was found would mean nothing. Some below what was seen: with more load fewer get through.
FLOORS = {"nobody": 10, "operator": 38, "data-owner": 34, "model-developer": 44, "council": 40, "auditor": 38,
          "site": 36, "evaluator": 35}
MEMBERS = ("site", "evaluator")
# A CA or a proxy that the environment names would take the place of the gateway's own.
FOREIGN = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy",
           "ALL_PROXY", "all_proxy")


def install() -> None:
    stamp, wanted = FOLDER / "packages.stamp", hashlib.sha256(sys.version.encode() + REQUIREMENTS.read_bytes())
    if stamp.exists() and stamp.read_text() == wanted.hexdigest():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--target", str(PACKAGES), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("schemathesis could not be installed: is the Python package index reachable?\n"
                 f"{done.stdout}{done.stderr}")
    stamp.write_text(wanted.hexdigest())


def scheme_of(role: str) -> str | None:
    """The way to be let in, as the document names it."""
    return None if role == "nobody" else "mtls" if role in MEMBERS else "oauth2"


def operations() -> dict[str, list]:
    """The operations of the document by id, with the alternatives of their `security`."""
    items = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"].values()
    known = [operation for item in items for operation in item.values() if isinstance(operation, dict)]
    return {operation["operationId"]: operation["security"] for operation in known if "operationId" in operation}


def let_in(role: str) -> list[str]:
    """The operations that are for a role."""
    scheme = scheme_of(role)

    def names_role(alternative: dict[str, list[str]]) -> bool:
        return scheme in alternative and (scheme == "mtls" or role in alternative[scheme])

    return [id for id, alternatives in operations().items() if not alternatives or any(map(names_role, alternatives))]


class Run:
    """All roles against one gateway."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.url, self.ca, self.out = given.url, str(given.ca.resolve()), given.out.resolve()
        self.credentials = given.credentials.resolve()
        self.examples, self.seed = os.environ.get("EXAMPLES") or "4", os.environ.get("SEED") or "1"
        self.out.mkdir(parents=True, exist_ok=True)
        # Only now are their packages installed.
        sys.path[:0] = [str(PACKAGES), str(CONTRACT)]
        from live import ids, member_of
        from partner import Partner

        auditor, developer = (Partner(self.url, self.ca, role, self.credential(role))
                              for role in ("auditor", "model-developer"))
        self.ids, self.member_of = ids(auditor, developer), member_of

    def credential(self, role: str) -> pathlib.Path:
        path = self.credentials / f"{role}.{'pem' if role in MEMBERS else 'pk8'}"
        if not path.exists():
            sys.exit(f"{path} is missing: see --help for what it holds")
        return path

    def session(self, role: str) -> dict:
        """What hooks.py is told."""
        scheme, ids = scheme_of(role), self.ids
        if scheme == "mtls":
            # A member's own seat, and now and then another's.
            own = self.member_of(self.credential(role))
            ids = {**ids, "site": [own, own, *ids["site"]]}
        return {"role": role, "url": self.url, "ca": self.ca, "scheme": scheme, "ids": ids,
                "let_in": let_in(role), "key": str(self.credential(role)) if scheme == "oauth2" else None,
                "report": str(self.out / f"{role}.json")}

    def settings(self, role: str) -> pathlib.Path:
        """Those of all roles, and where the role is not let in no search for the corners of what is not read."""
        others = sorted(operations().keys() - let_in(role))
        text = (CONTRACT / "schemathesis.toml").read_text(encoding="utf-8")
        text += f"\n[[operations]]\ninclude-operation-id = {json.dumps(others)}\nphases.coverage.enabled = false\n"
        path = self.out / f"{role}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def role(self, role: str) -> tuple[str, int, float]:
        """One role's exit code and seconds; what was printed is in ROLE.log."""
        session = self.out / f"{role}.session.json"
        session.write_text(json.dumps(self.session(role)), encoding="utf-8")
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(self.settings(role)),
                   "run", str(DOCUMENT), "--url", self.url, "--tls-verify", self.ca, "--no-color",
                   "--seed", self.seed, "--max-examples", self.examples]
        if role in MEMBERS:
            command += ["--request-cert", str(self.credential(role)), "--exclude-checks", "ignored_auth"]
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        environment |= {"PYTHONPATH": f"{PACKAGES}:{CONTRACT}", "PYTHONDONTWRITEBYTECODE": "1",
                        "SCHEMATHESIS_HOOKS": "hooks", "KONCLAVE_SCHEMATHESIS": str(session)}
        started = time.monotonic()
        with open(self.out / f"{role}.log", "w", encoding="utf-8") as log:
            done = subprocess.run(command, cwd=self.out, env=environment, stdout=log, stderr=subprocess.STDOUT)
        return role, done.returncode, time.monotonic() - started

    def judge(self, role: str, code: int, seconds: float) -> bool:
        """Tells how a role fared; whether all is well."""
        report = self.out / f"{role}.json"
        answers = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        requests = sum(sum(counts.values()) for counts in answers.values())
        successes = [name for name, counts in answers.items() if any(status.startswith("2") for status in counts)]
        enough = len(successes) >= FLOORS[role]
        print(f"{role}: {requests} requests to {len(answers)} operations in {seconds:.0f} s; {len(successes)} "
              f"answered with success, at least {FLOORS[role]} must", flush=True)
        if code != 0:
            log = (self.out / f"{role}.log").read_text(encoding="utf-8")
            # The findings; before them stands only what was planned.
            starts = [place for word in ("= ERRORS =", "= FAILURES =") if (place := log.find(word)) >= 0]
            print(log[min(starts, default=0):], flush=True)
        if not enough:
            print(f"{role}: too few operations answered with success. Without it:", flush=True)
            for name in sorted(answers.keys() - successes):
                print(f"  {name}: {answers[name]}", flush=True)
        return code == 0 and enough


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--install-only", action="store_true", help="install schemathesis, and no more")
    arguments.add_argument("--url", help="the gateway")
    arguments.add_argument("--ca", type=pathlib.Path, help="the CA of its TLS certificate, PEM")
    arguments.add_argument("--credentials", type=pathlib.Path, help="a folder of ROLE.pk8 and ROLE.pem")
    arguments.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "schemathesis",
                           help="where each role's log and counts go")
    arguments.add_argument("--role", action="append", choices=FLOORS, help="only this role; may be given several times")
    given = arguments.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(f"schemathesis needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    install()
    if given.install_only:
        return 0
    if not (given.url and given.ca and given.credentials):
        arguments.error("--url, --ca and --credentials are needed")
    run = Run(given)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = list(pool.map(run.role, given.role or FLOORS))
    well = [run.judge(*one) for one in done]
    print("schemathesis: nothing found" if all(well) else f"schemathesis: see {run.out}")
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
