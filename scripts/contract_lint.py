#!/usr/bin/env python3
"""Lints openapi/openapi.json by the rules of openapi/redocly.yaml: no errors, and no warnings either.

The linter is Redocly's, pinned with its digest in tests/contract/package-lock.json. It also checks every example
against its schema.
"""
import json
import pathlib
import subprocess
import sys

import node

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "openapi.json"
RULES = ROOT / "openapi" / "redocly.yaml"
FOLDER = ROOT / "third_party" / "contract"
LINTER = FOLDER / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js"


def main() -> int:
    node.install_packages(ROOT / "tests" / "contract", FOLDER)
    command = [str(node.NODE), str(LINTER), "lint", str(DOCUMENT), "--config", str(RULES), "--format", "json"]
    command += ["--max-problems", "1000"]
    # It would ask for newer versions, and tell its maker of each run.
    quiet = {"REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "REDOCLY_TELEMETRY": "off"}
    done = subprocess.run(command, env=node.environment() | quiet, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"the linter did not run:\n{done.stdout}{done.stderr}")
    for problem in report["problems"]:
        place = problem["location"][0] if problem["location"] else {}
        print(f"lint: {problem['ruleId']}: {problem['message']} at {place.get('pointer', '?')}", file=sys.stderr)
    errors, warnings = report["totals"]["errors"], report["totals"]["warnings"]
    ignored = report["totals"].get("ignored", 0)
    print(f"openapi.json: {errors} errors, {warnings} warnings, {ignored} ignored")
    return 1 if errors or warnings or ignored or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
