"""What a site must not forget: written durably before anything that depends on it is sent."""

import json
import os
import pathlib


def encode(value):
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"object": {name: encode(item) for name, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(value):
    if isinstance(value, dict):
        if "bytes" in value:
            return bytes.fromhex(value["bytes"])
        return {name: decode(item) for name, item in value["object"].items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


class Store:
    """One file for each name, replaced in one step."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self, name, default=None):
        path = self.folder / f"{name}.json"
        return decode(json.loads(path.read_text())) if path.exists() else default

    def save(self, name, value):
        path, fresh = self.folder / f"{name}.json", self.folder / f"{name}.new"
        with open(fresh, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(encode(value), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def erase(self, name):
        (self.folder / f"{name}.json").unlink(missing_ok=True)
