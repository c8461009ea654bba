#!/usr/bin/env python3
"""Plants breaks, one at a time, and sees each found; and changes that are none, and sees them passed over."""
import copy
import sys
import unittest

from openapi_diff import breaks, may_break, numbers

OBJECT = {
    "type": "object",
    "required": ["job", "phase"],
    "properties": {
        "job": {"type": "string"},
        "phase": {"type": "string", "enum": ["running", "finished"]},
        "rounds": {"type": "integer"},
        "parent": {"$ref": "#/components/schemas/Job"},
        "state": {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"type": "string", "enum": ["open"]}}},
                {
                    "type": "object",
                    "properties": {"kind": {"type": "string", "enum": ["shut"]}, "why": {"type": "string"}},
                },
            ]
        },
    },
}
NEW_JOB = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 64},
        "rounds": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 100},
        "seed": {"type": "integer", "format": "int32"},
        "mode": {"type": "string", "enum": ["sum", "group"]},
        "invited": {"type": "array", "items": {"type": "string"}},
    },
}
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "test", "version": "0.1.0"},
    "paths": {
        "/jobs": {
            "get": {
                "operationId": "list_jobs",
                "security": [{"mtls": []}, {"oauth2": ["operator"]}, {"oauth2": ["auditor"]}],
                "parameters": [
                    {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "maximum": 500}},
                    {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "description": "jobs",
                        "headers": {"ETag": {"required": True, "schema": {"type": "string"}}},
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}}
                            },
                            "text/plain": {"schema": {"type": "string"}},
                        },
                    },
                    "304": {"description": "known"},
                    "403": {"description": "forbidden"},
                },
            },
            "post": {
                "operationId": "request_job",
                "security": [{"oauth2": ["operator"]}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/NewJob"}},
                        "application/cbor": {"schema": {"$ref": "#/components/schemas/NewJob"}},
                    },
                },
                "responses": {"201": {"$ref": "#/components/responses/Made"}},
            },
        },
        "/livez": {
            "get": {"operationId": "live", "security": [], "responses": {"200": {"description": "alive"}}},
            "head": {"operationId": "check", "security": [], "responses": {"200": {"description": "alive"}}},
        },
    },
    "components": {
        "schemas": {"Job": OBJECT, "NewJob": NEW_JOB},
        "responses": {
            "Made": {
                "description": "made",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
            }
        },
        "securitySchemes": {"mtls": {"type": "mutualTLS"}, "oauth2": {"type": "oauth2", "flows": {}}},
    },
}


def at(document: dict, *path):
    for part in path:
        document = document[part]
    return document


def operation(document, method="get"):
    return at(document, "paths", "/jobs", method)


def job(document):
    return at(document, "components", "schemas", "Job", "properties")


def new_job(document):
    return at(document, "components", "schemas", "NewJob", "properties")


def take(container, key):
    del container[key]


# A break by its name: what changes the document, and what is to be said of it.
BREAKS = {
    "a path is removed": (lambda d: take(d["paths"], "/livez"), "/livez: the path is gone"),
    "an operation is removed": (lambda d: take(at(d, "paths", "/livez"), "head"), "HEAD /livez: the operation is gone"),
    "an operation is renamed": (
        lambda d: operation(d).update(operationId="jobs"), "the operationId `list_jobs` is now `jobs`"),
    "a success is removed": (lambda d: take(operation(d)["responses"], "304"), "the answer 304 is gone"),
    "a success has another status": (
        lambda d: operation(d, "post")["responses"].update({"202": operation(d, "post")["responses"].pop("201")}),
        "the answer 201 is gone"),
    "an answer's media type is removed": (
        lambda d: take(at(operation(d), "responses", "200", "content"), "text/plain"), "text/plain is gone"),
    "an answer's header is removed": (
        lambda d: take(at(operation(d), "responses", "200", "headers"), "ETag"), "the header ETag is gone"),
    "an answer's property is removed": (lambda d: take(job(d), "rounds"), ".rounds: is gone"),
    "an answer's property has another type": (
        lambda d: job(d)["rounds"].update(type="string"), "the type integer is now string"),
    "an answer's property may be null": (
        lambda d: job(d)["rounds"].update(type=["integer", "null"]), "is now integer or null"),
    "an answer's property may be absent": (
        lambda d: at(d, "components", "schemas", "Job", "required").remove("phase"), ".phase: may be absent now"),
    "a value is taken from an answer": (
        lambda d: job(d)["phase"]["enum"].remove("finished"), 'the value "finished" is gone'),
    "a variant is taken from an answer": (
        lambda d: at(job(d), "state", "oneOf").pop(), "the variant kind=shut is gone"),
    "a property of a variant is removed": (
        lambda d: take(at(job(d), "state", "oneOf", 1, "properties"), "why"), "<kind=shut>.why: is gone"),
    "a new parameter is required": (
        lambda d: operation(d)["parameters"].append({"name": "site", "in": "query", "required": True, "schema": {}}),
        "parameter site: is new and required"),
    "a parameter is required now": (
        lambda d: operation(d)["parameters"][0].update(required=True), "parameter limit: is required now"),
    "a parameter is removed": (lambda d: operation(d)["parameters"].pop(0), "parameter limit: is no longer taken"),
    "a parameter's limit is lowered": (
        lambda d: operation(d)["parameters"][0]["schema"].update(maximum=100), "maximum is 100 now, was 500"),
    "a new property of a request is required": (
        lambda d: at(d, "components", "schemas", "NewJob", "required").append("rounds"), ".rounds: is required now"),
    "a request's property is removed": (lambda d: take(new_job(d), "mode"), ".mode: is no longer taken"),
    "a request's property has another type": (
        lambda d: new_job(d)["invited"]["items"].update(type="integer"), "the type string is now integer"),
    "a value is no longer taken": (lambda d: new_job(d)["mode"]["enum"].remove("sum"), 'the value "sum" is gone'),
    "a text may be less long": (lambda d: new_job(d)["name"].update(maxLength=32), "maxLength is 32 now, was 64"),
    "a number has fewer bits": (
        lambda d: new_job(d)["rounds"].update(format="int32"), 'format is "int32" now, was "int64"'),
    "a number may be less than its bits allowed": (
        lambda d: new_job(d)["seed"].update(format="int64", maximum=1000), "maximum is 1000 now, was none"),
    "a number must be larger": (lambda d: new_job(d)["rounds"].update(minimum=2), "minimum is 2 now, was 1"),
    "a text has a pattern now": (lambda d: new_job(d)["name"].update(pattern="^a"), 'pattern is "^a" now, was null'),
    "a list must have items": (lambda d: new_job(d)["invited"].update(minItems=1), "minItems is 1 now, was none"),
    "unknown properties are refused": (
        lambda d: at(d, "components", "schemas", "NewJob").update(additionalProperties=False),
        "unknown properties are refused now"),
    "a request's media type is removed": (
        lambda d: take(at(operation(d, "post"), "requestBody", "content"), "application/cbor"),
        "application/cbor is gone"),
    "a role is no longer let in": (
        lambda d: operation(d)["security"].remove({"oauth2": ["auditor"]}), "no longer lets in"),
    "one role is no longer enough": (
        lambda d: operation(d, "post").update(security=[{"oauth2": ["operator", "council"]}]), "no longer lets in"),
    "a credential is needed": (
        lambda d: at(d, "paths", "/livez", "get").update(security=[{"mtls": []}]), "a credential is needed now"),
    "a security scheme is removed": (
        lambda d: take(d["components"]["securitySchemes"], "oauth2"), "`oauth2` is gone"),
}

# Changes that no client stumbles over.
HARMLESS = {
    "a path is added": lambda d: d["paths"].update({"/new": {"get": {"operationId": "new", "responses": {}}}}),
    "an optional parameter is added": lambda d: operation(d)["parameters"].append(
        {"name": "site", "in": "query", "required": False, "schema": {"type": "string"}}),
    "an answer's property is added": lambda d: job(d).update(entry={"type": "integer"}),
    "an answer's property is always there": lambda d: at(d, "components", "schemas", "Job", "required").append(
        "rounds"),
    "an optional property of a request is added": lambda d: new_job(d).update(why={"type": "string"}),
    "a value is taken too": lambda d: new_job(d)["mode"]["enum"].append("mean"),
    "a number may have more bits": lambda d: new_job(d)["seed"].update(format="int64", maximum=2**32 - 1),
    "a limit is raised": lambda d: new_job(d)["rounds"].update(maximum=1000, minimum=0),
    "a property of a request is no longer required": lambda d: take(
        at(d, "components", "schemas", "NewJob"), "required"),
    "another role is let in": lambda d: operation(d)["security"].append({"oauth2": ["council"]}),
    "no credential is needed": lambda d: operation(d).update(security=[]),
    "a problem is documented": lambda d: operation(d)["responses"].update({"429": {"description": "too many"}}),
    "a description is changed": lambda d: job(d)["job"].update(description="its id", example="job-1"),
    "an answer is described in place": lambda d: operation(d, "post")["responses"].update(
        {"201": copy.deepcopy(d["components"]["responses"]["Made"])}),
}


class Breaks(unittest.TestCase):
    def test_nothing_breaks_nothing(self):
        self.assertEqual(breaks(DOCUMENT, copy.deepcopy(DOCUMENT)), [])

    def test_every_planted_break_is_found(self):
        for name, (change, expected) in BREAKS.items():
            with self.subTest(name):
                changed = copy.deepcopy(DOCUMENT)
                change(changed)
                found = breaks(DOCUMENT, changed)
                self.assertTrue(any(expected in line for line in found), f"{expected!r} is not in {found}")

    def test_what_harms_nobody_is_passed_over(self):
        for name, change in HARMLESS.items():
            with self.subTest(name):
                changed = copy.deepcopy(DOCUMENT)
                change(changed)
                self.assertNotEqual(changed, DOCUMENT)
                self.assertEqual(breaks(DOCUMENT, changed), [])

    def test_the_version_says_whether_breaks_are_allowed(self):
        for old, new, allowed in [
            ("0.1.0", "0.1.1", False), ("0.1.0", "0.2.0", True), ("0.9.0", "1.0.0", True), ("1.2.0", "1.3.0", False),
            ("1.2.0", "2.0.0", True), ("0.1.0", "0.1.0", False), ("0.2.0", "0.1.0", False),
        ]:
            self.assertEqual(may_break(old, new), allowed, f"{old} {new}")
        self.assertLess(numbers("0.9.0"), numbers("0.10.0"))


if __name__ == "__main__":
    sys.exit(0 if unittest.main(exit=False, verbosity=0).result.wasSuccessful() else 1)
