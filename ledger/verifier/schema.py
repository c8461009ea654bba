"""The JSON Schemas of the records (`ledger/schemas/<action>.json`), as far as those files use the language."""
import json
import os
import re

from notes import Refused

TYPES = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool, "integer": int}
RANGES = {"uint8": (0, 2**8), "uint16": (0, 2**16), "uint32": (0, 2**32), "uint64": (0, 2**64),
          "int64": (-2**63, 2**63)}
KNOWN = {"$defs", "$id", "$ref", "$schema", "additionalProperties", "anyOf", "const", "description", "enum", "format",
         "items", "maximum", "minLength", "minimum", "oneOf", "pattern", "properties", "required", "title", "type"}


def same(one, other):
    """JSON equality: true is not 1."""
    return type(one) is type(other) and one == other


def fits(schema, value, top):
    """Why `value` does not fit `schema`; None if it does. `top` holds what references point to."""
    unknown = set(schema) - KNOWN
    if unknown:
        raise ValueError(f"the schema uses {sorted(unknown)}, which this program does not know")
    if "$ref" in schema:
        wrong = fits(top["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, top)
        if wrong:
            return wrong
    for choices in (schema[word] for word in ("anyOf", "oneOf") if word in schema):
        if all(fits(choice, value, top) for choice in choices):
            return "it is none of the forms allowed"
    if "type" in schema and not is_type(schema["type"], value):
        return f"it is no {schema['type']}"
    if "const" in schema and not same(schema["const"], value):
        return f"it is not {schema['const']}"
    if "enum" in schema and not any(same(one, value) for one in schema["enum"]):
        return f"it is none of {schema['enum']}"
    if isinstance(value, str):
        return text_fits(schema, value)
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = RANGES.get(schema.get("format"), (-2**64, 2**64))
        if not max(low, schema.get("minimum", low)) <= value <= min(high - 1, schema.get("maximum", high)):
            return "it is out of range"
    if isinstance(value, list) and "items" in schema:
        wrongs = ((at, fits(schema["items"], item, top)) for at, item in enumerate(value))
        return next((f"item {at}: {wrong}" for at, wrong in wrongs if wrong), None)
    return object_fits(schema, value, top) if isinstance(value, dict) else None


def is_type(names, value):
    names = names if isinstance(names, list) else [names]
    return any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def text_fits(schema, value):
    if len(value) < schema.get("minLength", 0):
        return "it is too short"
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):
        return f"it is not of the form {schema['pattern']}"
    return None


def object_fits(schema, value, top):
    properties = schema.get("properties", {})
    missing = [name for name in schema.get("required", []) if name not in value]
    if missing:
        return f"{missing[0]} is missing"
    surplus = [name for name in value if name not in properties]
    if surplus and schema.get("additionalProperties") is False:
        return f"{surplus[0]} does not belong"
    return next((f"{name}: {wrong}" for name, part in properties.items()
                 if name in value and (wrong := fits(part, value[name], top))), None)


class Schemas:
    """The schemas of a folder, by action. Without a folder nothing is checked."""

    def __init__(self, folder):
        self.known = {}
        self.unknown = 0
        for name in sorted(os.listdir(folder)) if folder and os.path.isdir(folder) else []:
            if name.endswith(".json"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    self.known[name.removesuffix(".json")] = json.load(file)

    def check(self, leaf):
        """Refuses an entry whose record lacks what its action promises."""
        schema = self.known.get(leaf["action"])
        if schema is None:
            self.unknown += 1
            return
        wrong = fits(schema["properties"]["record"], leaf["record"], schema)
        if wrong:
            raise Refused(f"the record of {leaf['action']} is malformed: {wrong}")
