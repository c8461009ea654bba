#!/usr/bin/env python3
"""Writes the small models of the trainer's tests: one that can be trained and several that must be refused.

Needs Python with torch 2.11.0; the project itself does not, because the files this writes are committed.

    python3 site-enclave/tests/models/make_models.py
"""
import io
import pathlib
import zipfile

import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
BITS = 2048


class Linear(nn.Module):
    """Can be trained: one layer, four outputs. The bias is the second parameter and its name sorts first."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(BITS, 4)
        nn.init.normal_(self.heads.weight, std=0.01)
        nn.init.zeros_(self.heads.bias)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.heads(fingerprints)


class BatchNorm(nn.Module):
    """Keeps running statistics in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(BITS, 2), nn.BatchNorm1d(2))

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.layers(fingerprints)


class HiddenTensor(nn.Module):
    """Keeps a tensor that is neither a parameter nor a declared buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(BITS, 2)
        self.offset = torch.ones(2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.layer(fingerprints) + self.offset


class DoublePrecision(nn.Module):
    """Has parameters that are not float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(BITS, 2, dtype=torch.float64)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.layer(fingerprints.double()).float()


class OtherInput(nn.Module):
    """Expects another input width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(100, 2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.layer(fingerprints)


class OtherOutput(nn.Module):
    """Returns one number for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(BITS, 1)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.layer(fingerprints).mean()


class NoParameters(nn.Module):
    """Has nothing to train."""

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return fingerprints[:, :2]


MODELS = {
    "linear": Linear, "batch-norm": BatchNorm, "hidden-tensor": HiddenTensor, "double-precision": DoublePrecision,
    "other-input": OtherInput, "other-output": OtherOutput, "no-parameters": NoParameters,
}


def save(model: nn.Module, path: pathlib.Path) -> None:
    """Saves the scripted model without the debug records, which hold paths of the machine that made it."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(model), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as sink:
        for record in source.infolist():
            if not record.filename.endswith(".debug_pkl"):
                sink.writestr(zipfile.ZipInfo(record.filename), source.read(record))


def main() -> None:
    torch.manual_seed(1)
    for name, model in MODELS.items():
        save(model(), HERE / f"{name}.pt")


if __name__ == "__main__":
    main()
