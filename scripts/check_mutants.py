#!/usr/bin/env python3
"""Removes each check against an attack once, in a scratch copy, and looks whether its tests fail.

The checks are listed in scripts/mutants/*.toml. One with a check removed is called a mutant:

    id        its name
    attack    the row of SECURITY.md's table of attacks that it belongs to
    removes   what is not checked any more
    note      optional: what else would still stop the attack
    edits     file, find, replace: `find` must be in the file exactly once
    fails     the tests that must fail, as `crate: target::path`, where the target is `lib` or a file of tests/

A test that passes although its check is gone is too weak. A mutant that does not build shows nothing and is a fault of
the list. With `--dry` nothing is built: the edits must still fit, and every test of the table must be in the list.
"""
import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

import check_attack_tests

ROOT = pathlib.Path(__file__).resolve().parent.parent
LISTS = ROOT / "scripts" / "mutants"
SCRATCH = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "mutants"
CARGO = os.environ.get("CARGO", "cargo")

# Alone, crypto builds much faster. Of the others Cargo takes the whole workspace, so that it chooses the same features.
ALONE = {"crypto": "konclave-crypto"}
# The programs that the end-to-end tests start.
STARTS_PROGRAMS = "tests"
# A test that waits for something that the mutant prevents gives up by itself long before.
TEST_SECONDS = 1200
BUILD_SECONDS = 3600

FAILED, SURVIVED, UNBUILT, MISSING, HUNG = "failed", "SURVIVED", "DOES NOT BUILD", "DID NOT RUN", "HUNG"


@dataclasses.dataclass(frozen=True)
class Edit:
    file: str
    find: str
    replace: str


@dataclasses.dataclass(frozen=True)
class Test:
    crate: str
    target: str
    path: str

    @classmethod
    def parse(cls, text: str) -> "Test":
        crate, rest = text.split(": ")
        target, path = rest.split("::", 1)
        return cls(crate, target, path)

    def __str__(self) -> str:
        return f"{self.crate}: {self.target}::{self.path}"

    @property
    def function(self) -> str:
        return self.path.rsplit("::", 1)[-1]


@dataclasses.dataclass(frozen=True)
class Mutant:
    id: str
    attack: str
    removes: str
    edits: tuple[Edit, ...]
    fails: tuple[Test, ...]
    note: str = ""

    @classmethod
    def of(cls, entry: dict) -> "Mutant":
        edits = tuple(Edit(**edit) for edit in entry.pop("edits"))
        fails = tuple(Test.parse(text) for text in entry.pop("fails"))
        return cls(edits=edits, fails=fails, **entry)


def load() -> list[Mutant]:
    import tomllib

    mutants = []
    for path in sorted(LISTS.glob("*.toml")):
        try:
            mutants += [Mutant.of(entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]
        except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            sys.exit(f"{path.relative_to(ROOT)}: {error!r}")
    return mutants


def misfits(edits: Iterable[Edit]) -> list[str]:
    """Why edits cannot be made."""
    found = []
    for edit in edits:
        path = ROOT / edit.file
        times = path.read_text(encoding="utf-8").count(edit.find) if path.is_file() else 0
        if times != 1:
            found.append(f"{edit.file} has {times} times instead of once: {edit.find.strip()}")
        if edit.find == edit.replace:
            found.append(f"{edit.file}: nothing is changed by {edit.find.strip()}")
    return found


def faults(mutants: list[Mutant]) -> list[str]:
    """What is wrong with the list, as far as can be seen without building."""
    attacks = check_attack_tests.attacks(ROOT)
    known = {crate: check_attack_tests.tests_of(ROOT, crate) for crate in check_attack_tests.FOLDERS}
    found, ids, covered = [], set(), set()
    for mutant in mutants:
        problems = misfits(mutant.edits)
        if mutant.id in ids:
            problems.append("its id is used twice")
        if mutant.attack not in attacks:
            problems.append(f"SECURITY.md has no attack {mutant.attack!r}")
        unknown = [test for test in mutant.fails if test.function not in known.get(test.crate, set())]
        problems += [f"there is no test {test}" for test in unknown]
        ids.add(mutant.id)
        covered.update((test.crate, test.function) for test in mutant.fails)
        found += [f"{mutant.id}: {problem}" for problem in problems]
    for attack, tests in attacks.items():
        found += [f"{attack}: no check of {crate}: {name} is removed" for crate, name in tests if (crate, name) not in covered]
    return found


def sources() -> set[pathlib.PurePath]:
    """The files of the working tree, changed ones as they are."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {pathlib.PurePath(name) for name in listed.split("\0") if name and (ROOT / name).is_file()}


def restore(tree: pathlib.Path) -> None:
    """Makes the scratch copy equal to the working tree. What is equal is not touched: Cargo goes by the times of files."""
    wanted = sources()
    tree.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        source, copy = ROOT / name, tree / name
        if copy.is_file() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    for folder, folders, files in os.walk(tree):
        folders[:] = [name for name in folders if not (pathlib.Path(folder) / name).is_symlink()]
        for name in files:
            path = pathlib.Path(folder) / name
            if path.relative_to(tree) not in wanted:
                path.unlink()
    # libtorch, which the build reads from there.
    link = tree / "third_party"
    if not link.is_symlink():
        link.symlink_to(ROOT / "third_party")


def apply(tree: pathlib.Path, edits: Iterable[Edit]) -> None:
    for edit in edits:
        path = tree / edit.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(edit.find, edit.replace), encoding="utf-8")


def cargo(tree: pathlib.Path, arguments: list[str], seconds: int) -> tuple[int | None, str]:
    """Runs Cargo in the copy; its exit code, or nothing if the time was up, and what it printed."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(SCRATCH / "build"), "CARGO_TERM_COLOR": "never"}
    process = subprocess.Popen(
        [CARGO, *arguments], cwd=tree, env=environment, text=True, errors="replace", start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        # With the test that Cargo started.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def selection(crate: str, target: str) -> list[str]:
    packages = ["--package", ALONE[crate]] if crate in ALONE else ["--workspace"]
    return ["--locked", *packages, *(["--lib"] if target == "lib" else ["--test", target])]


def build(tree: pathlib.Path, crate: str, target: str) -> tuple[bool, str]:
    code, output = cargo(tree, ["test", *selection(crate, target), "--no-run"], BUILD_SECONDS)
    if code == 0 and crate == STARTS_PROGRAMS:
        code, output = cargo(tree, ["build", "--locked", "--workspace", "--bins"], BUILD_SECONDS)
    return code == 0, output


def outcome(test: Test, code: int | None, output: str) -> str:
    said = re.findall(rf"^test {re.escape(test.path)} \.\.\. (ok|FAILED)", output, re.MULTILINE)
    if code is None and not said:
        return HUNG
    if len(said) != 1:
        return MISSING
    return SURVIVED if said == ["ok"] else FAILED


def run_tests(tree: pathlib.Path, tests: Iterable[Test], log: pathlib.Path) -> dict[Test, str]:
    """Builds and runs tests of the copy as it is. What Cargo printed goes into the log."""
    by_target: dict[tuple[str, str], list[Test]] = {}
    for test in tests:
        by_target.setdefault((test.crate, test.target), []).append(test)
    found, printed = {}, []
    for (crate, target), members in by_target.items():
        built, output = build(tree, crate, target)
        printed.append(output)
        if not built:
            found.update(dict.fromkeys(members, UNBUILT))
            continue
        paths = [test.path for test in members]
        code, output = cargo(tree, ["test", *selection(crate, target), "--", "--exact", *paths], TEST_SECONDS)
        printed.append(output)
        found.update({test: outcome(test, code, output) for test in members})
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join(printed), encoding="utf-8")
    return found


def chosen(mutants: list[Mutant], ids: list[str], crates: list[str]) -> list[Mutant]:
    """The mutants with these ids, and of their tests those of these crates."""
    unknown = sorted(set(ids) - {mutant.id for mutant in mutants})
    if unknown:
        sys.exit(f"no mutant is called {', '.join(unknown)}; the ids are in scripts/mutants/")
    found = []
    for mutant in mutants:
        fails = tuple(test for test in mutant.fails if test.crate in crates)
        if fails and (not ids or mutant.id in ids):
            found.append(dataclasses.replace(mutant, fails=fails))
    return found


def report(name: str, results: dict[Test, str]) -> None:
    for test, result in results.items():
        print(f"{name:<36} {result:<15} {test}", flush=True)


def run_all(mutants: list[Mutant]) -> int:
    """Runs mutants one after the other; how many tests did not fail."""
    tree, bad = SCRATCH / "tree", 0
    for mutant in mutants:
        restore(tree)
        apply(tree, mutant.edits)
        try:
            results = run_tests(tree, mutant.fails, SCRATCH / "logs" / f"{mutant.id}.log")
        finally:
            restore(tree)
        report(mutant.id, results)
        bad += sum(result != FAILED for result in results.values())
    return bad


def run_unchanged(mutants: list[Mutant]) -> int:
    """Runs the same tests with every check in place; how many did not pass."""
    tree = SCRATCH / "tree"
    restore(tree)
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.fails)
    results = run_tests(tree, tests, SCRATCH / "logs" / "unchanged.log")
    words = {SURVIVED: "passed", FAILED: "FAILED"}
    report("(unchanged)", {test: words.get(result, result) for test, result in results.items()})
    return sum(result != SURVIVED for result in results.values())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these mutants")
    parser.add_argument("--crate", action="append", choices=check_attack_tests.FOLDERS, help="only this crate's tests")
    parser.add_argument("--dry", action="store_true", help="only check that the list is whole and its edits still fit")
    parser.add_argument("--unchanged", action="store_true", help="run the tests with nothing removed: they must pass")
    return parser.parse_args()


def main() -> int:
    if sys.version_info < (3, 11):
        sys.exit(f"the list of mutants needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    asked, mutants = arguments(), load()
    found = faults(mutants)
    for fault in found:
        print(f"mutants: {fault}", file=sys.stderr)
    if found:
        return 1
    if asked.dry:
        print(f"mutants: {len(mutants)} checks can be removed; every test of the attacks has one")
        return 0
    selected = chosen(mutants, asked.ids, asked.crate or list(check_attack_tests.FOLDERS))
    if asked.unchanged:
        return 1 if run_unchanged(selected) else 0
    bad = run_all(selected)
    what = "each was noticed" if bad == 0 else f"{bad} tests did not fail; see {SCRATCH / 'logs'}"
    print(f"mutants: {len(selected)} checks removed one at a time, {what}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
