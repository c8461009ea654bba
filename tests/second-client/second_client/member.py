"""A site: its folder, its keys, and the loop that does what the gateway waits for."""

import json
import pathlib
import time
import tomllib

from . import primitives
from .encoding import Refused, digest
from .gateway import Gateway, Problem
from .job import Job, log
from .ledger import Ledger
from .roster import check_certificate, parse_certificate
from .store import Store

STEPS = {
    "consent": lambda job, item: job.consent(),
    "advertise-keys": lambda job, item: job.advertise_keys(),
    "encapsulate": lambda job, item: job.encapsulate(),
    "upload": lambda job, item: job.upload(item["round"]),
    "agree": lambda job, item: job.agree(item["round"]),
    "unmask": lambda job, item: job.unmask(item["round"]),
    "tag": lambda job, item: job.tag(item["round"]),
    "verify": lambda job, item: job.verify(item["round"]),
}


class Member:
    """Reads the folder that `konclave-site init` and `join` filled; its own state goes into `second-client`."""

    def __init__(self, folder, part):
        self.folder, self.part = pathlib.Path(folder), part
        enrolment = json.loads((self.folder / "membership.json").read_text())
        self.certificate = enrolment["certificate"]
        self.root = digest(enrolment["consortium_root"])
        self.key = primitives.signer((self.folder / "keys/identity.seed").read_bytes())
        self.floors = tomllib.loads((self.folder / "floors.toml").read_text())
        parsed = parse_certificate(self.certificate)
        check_certificate(self.root, parsed, "site", int(time.time()))
        if parsed["membership"]["identity_key"] != primitives.public_of(self.key):
            raise Refused("OwnKeys", "the certificate is over another key")
        self.site = parsed["membership"]["site"]
        state = self.folder / "second-client"
        certificate = state / "tls.pem"
        own = self.store("")
        certificate.write_text(enrolment["tls_certificate"])
        self.gateway = Gateway(
            enrolment["gateway_url"], enrolment["tls_ca"], certificate, self.folder / "keys/tls.key")
        self.ledger = Ledger(self.gateway, enrolment["ledger_key"], own)

    def store(self, name):
        return Store(self.folder / "second-client" / name)

    def work(self, until_finished):
        """Does what is asked for, until a job of this site is over (or for ever)."""
        jobs = {}
        while True:
            items = self.gateway.get("/v1/work?wait_seconds=1")["items"]
            for item in items:
                job = jobs.setdefault(item["job"], Job(self, item["job"]))
                self.do(job, item)
            for name in list(jobs) if until_finished and not items else []:
                phase = self.gateway.get(f"/v1/jobs/{name}")["phase"]
                if phase["kind"] in ("finished", "aborted"):
                    jobs[name].close()
                    log(f"{name}: {phase['kind']}")
                    return phase["kind"] == "finished"
            time.sleep(0.05)

    def do(self, job, item):
        step = STEPS.get(item["kind"])
        if step is None:
            log(f"{job.name}: {item['kind']} is no work for a site")
            return
        try:
            step(job, item)
        except Problem as problem:
            if not problem.moves_on and not problem.is_temporary:
                raise
            log(f"{job.name}: too late or too early, moving on: {problem}")
            time.sleep(0.5)
        except Refused as refused:
            # Nothing was sent. A later look may show what was missing; what is wrong stays wrong, and is said again.
            log(f"{job.name}: {item['kind']}: refused: {refused}")
            time.sleep(1)
