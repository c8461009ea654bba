#!/usr/bin/env python3
"""Finds what in openapi/openapi.json breaks clients of the last released document, openapi/released/<version>.json.

A break is whatever a client that was written against the released document may stumble over: a path, operation, answer
or property that is gone, a request that is no longer taken, a credential that no longer lets in. Additions are none:
clients pass over what they do not know. Breaks are allowed where the version says so (SemVer: another major version, or
another minor one below 1.0); they are told then, and the exit status is 0.
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "openapi.json"
RELEASED = ROOT / "openapi" / "released"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

# Limits of a schema: which way they may move where a client sends the value.
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
# The largest number of a format. A wider one takes all that a narrower one does.
LARGEST = {"int32": 2**31 - 1, "int64": 2**63 - 1}


class Comparison:
    """Two documents, and the breaks found so far."""

    def __init__(self, old: dict, new: dict):
        self.old, self.new = old, new
        self.breaks: list[str] = []
        # Pairs of references under way, by direction: schemas may hold themselves.
        self.seen: set[tuple] = set()

    def found(self, at: str, what: str) -> None:
        line = f"{at}: {what}"
        if line not in self.breaks:
            self.breaks.append(line)

    @staticmethod
    def resolve(document: dict, value):
        while isinstance(value, dict) and "$ref" in value:
            place = document
            for part in value["$ref"].lstrip("#/").split("/"):
                place = place[part.replace("~1", "/").replace("~0", "~")]
            value = place
        return value

    def both(self, old, new):
        return self.resolve(self.old, old), self.resolve(self.new, new)

    # The document

    def run(self) -> list[str]:
        for path, item in self.old["paths"].items():
            other = self.new["paths"].get(path)
            if other is None:
                self.found(path, "the path is gone")
                continue
            for method in METHODS:
                if method in item:
                    at = f"{method.upper()} {path}"
                    if method in other:
                        self.operation(at, item[method], other[method])
                    else:
                        self.found(at, "the operation is gone")
        schemes = self.old.get("components", {}).get("securitySchemes", {})
        for name in schemes.keys() - self.new.get("components", {}).get("securitySchemes", {}).keys():
            self.found("securitySchemes", f"`{name}` is gone")
        return self.breaks

    def operation(self, at: str, old: dict, new: dict) -> None:
        if old.get("operationId") != new.get("operationId"):
            self.found(at, f"the operationId `{old.get('operationId')}` is now `{new.get('operationId')}`")
        self.security(at, old, new)
        self.parameters(at, old.get("parameters", []), new.get("parameters", []))
        self.request(at, old.get("requestBody"), new.get("requestBody"))
        for status, response in old.get("responses", {}).items():
            if status[0] in "23":
                other = new.get("responses", {}).get(status)
                if other is None:
                    self.found(at, f"the answer {status} is gone")
                else:
                    self.response(f"{at} {status}", *self.both(response, other))

    def security(self, at: str, old: dict, new: dict) -> None:
        before = old.get("security", self.old.get("security", []))
        after = new.get("security", self.new.get("security", []))
        if not after:
            return
        if not before:
            self.found(at, "a credential is needed now")
        for alternative in before:
            if not any(self.admits(other, alternative) for other in after):
                self.found(at, f"the credential {json.dumps(alternative)} no longer lets in")

    @staticmethod
    def admits(requirement: dict, credential: dict) -> bool:
        """Whether who has the credential fulfils the requirement."""
        return all(
            scheme in credential and set(scopes) <= set(credential[scheme]) for scheme, scopes in requirement.items()
        )

    def parameters(self, at: str, old: list, new: list) -> None:
        def by_name(document, parameters):
            resolved = [self.resolve(document, parameter) for parameter in parameters]
            return {(one["in"], one["name"].lower() if one["in"] == "header" else one["name"]): one for one in resolved}

        before, after = by_name(self.old, old), by_name(self.new, new)
        for (place, name), parameter in before.items():
            where = f"{at} parameter {name}"
            other = after.get((place, name))
            if other is None:
                self.found(where, f"is no longer taken in the {place}")
                continue
            if other.get("required") and not parameter.get("required"):
                self.found(where, "is required now")
            self.schema(where, parameter.get("schema", {}), other.get("schema", {}), sent=True)
        for (place, name), parameter in after.items():
            if (place, name) not in before and parameter.get("required"):
                self.found(f"{at} parameter {name}", "is new and required")

    def request(self, at: str, old, new) -> None:
        old, new = self.both(old, new)
        if new is None:
            if old is not None:
                self.found(at, "no body is taken any more")
            return
        if new.get("required") and not (old or {}).get("required"):
            self.found(at, "a body is required now")
        self.content(f"{at} request", (old or {}).get("content", {}), new.get("content", {}), sent=True)

    def response(self, at: str, old: dict, new: dict) -> None:
        self.content(at, old.get("content", {}), new.get("content", {}), sent=False)
        after = {name.lower() for name in new.get("headers", {})}
        for name in old.get("headers", {}):
            if name.lower() not in after:
                self.found(at, f"the header {name} is gone")

    def content(self, at: str, old: dict, new: dict, *, sent: bool) -> None:
        for media, body in old.items():
            if media not in new:
                self.found(at, f"{media} is gone")
            else:
                self.schema(f"{at} {media}", body.get("schema", {}), new[media].get("schema", {}), sent=sent)

    # Schemas. `sent` says that clients send the value; else they read it.

    def schema(self, at: str, old, new, *, sent: bool) -> None:
        pair = (json.dumps(old, sort_keys=True), json.dumps(new, sort_keys=True), sent)
        if "$ref" in (old or {}) or "$ref" in (new or {}):
            if pair in self.seen:
                return
            self.seen.add(pair)
        old, new = self.both(old, new)
        # `true` takes anything, as `{}` does.
        old, new = ({} if one is True else one for one in (old, new))
        if not isinstance(old, dict) or not isinstance(new, dict):
            return
        self.types(at, old, new, sent)
        self.values(at, old, new, sent)
        if sent:
            self.limits(at, old, new)
        self.properties(at, old, new, sent)
        if "items" in old and isinstance(new.get("items"), dict):
            self.schema(f"{at}[]", old["items"], new["items"], sent=sent)
        extra = old.get("additionalProperties"), new.get("additionalProperties")
        if all(isinstance(one, dict) for one in extra):
            self.schema(f"{at}.*", *extra, sent=sent)
        if sent and extra[1] is False and extra[0] is not False:
            self.found(at, "unknown properties are refused now")
        self.variants(at, old, new, sent)

    def types(self, at: str, old: dict, new: dict, sent: bool) -> None:
        before, after = types_of(old), types_of(new)
        if sent and before is None and after is not None:
            self.found(at, f"must be {' or '.join(sorted(after))} now")
        if before is None or after is None:
            if not sent and before is not None and not is_composed(new) and not is_composed(old):
                self.found(at, "may be of any type now")
            return
        wide, narrow = (after, before) if sent else (before, after)
        # A whole number is a number.
        lost = {kind for kind in narrow - wide if not (kind == "integer" and "number" in wide)}
        if lost:
            self.found(at, f"the type {' or '.join(sorted(before))} is now {' or '.join(sorted(after))}")

    def values(self, at: str, old: dict, new: dict, sent: bool) -> None:
        def allowed(schema):
            if "const" in schema:
                return [schema["const"]]
            return schema.get("enum")

        before, after = allowed(old), allowed(new)
        if before is not None and after is not None:
            # What the gateway no longer answers is a break too: a client may wait for it.
            for value in before:
                if value not in after:
                    self.found(at, f"the value {json.dumps(value)} is gone")
        elif sent and after is not None:
            self.found(at, "only some values are taken now")

    def limits(self, at: str, old: dict, new: dict) -> None:
        for name in UPPER:
            most = LARGEST.get(old.get("format"), float("inf")) if name == "maximum" else float("inf")
            if name in new and new[name] < min(old.get(name, most), most):
                self.found(at, f"{name} is {new[name]} now, was {old.get(name, 'none')}")
        for name in LOWER:
            # No length and no number of things is below zero.
            least = float("-inf") if name in ("minimum", "exclusiveMinimum") else 0
            if name in new and new[name] > old.get(name, least):
                self.found(at, f"{name} is {new[name]} now, was {old.get(name, 'none')}")
        wider = LARGEST.get(new.get("format"), 0) >= LARGEST.get(old.get("format"), float("inf"))
        for name in ("pattern", "format", "multipleOf"):
            if name in new and new[name] != old.get(name) and not (name == "format" and wider):
                self.found(at, f"{name} is {json.dumps(new[name])} now, was {json.dumps(old.get(name))}")
        if new.get("uniqueItems") and not old.get("uniqueItems"):
            self.found(at, "items must be unique now")

    def properties(self, at: str, old: dict, new: dict, sent: bool) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", [])), set(new.get("required", []))
        for name, schema in before.items():
            if name in after:
                self.schema(f"{at}.{name}", schema, after[name], sent=sent)
            elif not is_composed(new):
                self.found(f"{at}.{name}", "is no longer taken" if sent else "is gone")
        if sent:
            for name in sorted(needed_after - needed_before):
                self.found(f"{at}.{name}", "is required now")
        else:
            for name in sorted((needed_before - needed_after) & after.keys()):
                self.found(f"{at}.{name}", "may be absent now")

    def variants(self, at: str, old: dict, new: dict, sent: bool) -> None:
        for word in ("oneOf", "anyOf"):
            if word not in old or word not in new:
                if word in old and not any(other in new for other in ("oneOf", "anyOf")):
                    self.found(at, f"{word} is gone")
                continue
            after = {self.variant(self.new, one, place): one for place, one in enumerate(new[word])}
            for place, one in enumerate(old[word]):
                name = self.variant(self.old, one, place)
                if name in after:
                    self.schema(f"{at}<{name}>", one, after[name], sent=sent)
                else:
                    self.found(at, f"the variant {name} is gone")
        for place, (one, other) in enumerate(zip(old.get("allOf", []), new.get("allOf", []))):
            self.schema(f"{at}&{place}", one, other, sent=sent)

    def variant(self, document: dict, schema: dict, place: int) -> str:
        """What a variant is known by: its schema's name, its tag, or its place."""
        if "$ref" in schema:
            return schema["$ref"].rsplit("/", 1)[-1]
        for name, one in schema.get("properties", {}).items():
            one = self.resolve(document, one)
            values = [one["const"]] if "const" in one else one.get("enum", [])
            if len(values) == 1:
                return f"{name}={values[0]}"
        kinds = types_of(schema)
        return " or ".join(sorted(kinds)) if kinds else str(place)


def types_of(schema: dict):
    kinds = schema.get("type")
    if kinds is None:
        return None
    return {kinds} if isinstance(kinds, str) else set(kinds)


def is_composed(schema: dict) -> bool:
    return any(word in schema for word in ("oneOf", "anyOf", "allOf"))


def breaks(old: dict, new: dict) -> list[str]:
    """What breaks clients of the old document."""
    return Comparison(old, new).run()


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split("."))


def may_break(old: str, new: str) -> bool:
    """Whether the version says that clients are not compatible (SemVer)."""
    before, after = numbers(old), numbers(new)
    return after[0] > before[0] or (before[0] == after[0] == 0 and after[1] > before[1])


def last_released(folder: pathlib.Path):
    files = sorted(folder.glob("*.json"), key=lambda path: numbers(path.stem))
    return files[-1] if files else None


def release() -> int:
    document = json.loads(DOCUMENT.read_text())
    target = RELEASED / f"{document['info']['version']}.json"
    if target.exists():
        sys.exit(f"{target.relative_to(ROOT)} is released already; what was released is not changed: raise the version")
    RELEASED.mkdir(exist_ok=True)
    target.write_bytes(DOCUMENT.read_bytes())
    print(f"released: {target.relative_to(ROOT)}")
    return 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--release", action="store_true", help="copy the document to openapi/released/")
    if arguments.parse_args().release:
        return release()
    path = last_released(RELEASED)
    if path is None:
        print("contract: nothing is released yet")
        return 0
    old, new = json.loads(path.read_text()), json.loads(DOCUMENT.read_text())
    found = breaks(old, new)
    for line in found:
        print(f"break: {line}", file=sys.stderr)
    before, after = old["info"]["version"], new["info"]["version"]
    if found and not may_break(before, after):
        print(
            f"openapi/openapi.json breaks clients of {before} in {len(found)} places: keep what they use, or raise the "
            "version that says so",
            file=sys.stderr,
        )
        return 1
    print(f"contract: {len(old['paths'])} paths of {before}, {len(found)} breaks in {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
