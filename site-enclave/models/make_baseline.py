#!/usr/bin/env python3
"""Writes the baseline model: a TorchScript network from a 2,048-bit ECFP4 fingerprint to 32 task outputs.

Needs Python with torch 2.11.0 (`pip install torch==2.11.0`); the project itself does not, because the file this
writes is committed. Hidden layers have ReLU and dropout, and no normalisation layers: their running statistics
are buffers, which secure aggregation cannot average.

    python3 site-enclave/models/make_baseline.py site-enclave/models/baseline-ecfp4-mlp.pt
"""
import argparse
import io
import zipfile

import torch
from torch import nn

FINGERPRINT_BITS = 2048
HEADS = 32


class EcfpMlp(nn.Module):
    """Fingerprint -> hidden layer -> hidden layer -> one output per task."""

    def __init__(self, first: int, second: int, dropout_input: float, dropout: float) -> None:
        super().__init__()
        self.dropout_input = nn.Dropout(dropout_input)
        self.embed = nn.Linear(FINGERPRINT_BITS, first)
        self.hidden = nn.Linear(first, second)
        self.heads = nn.Linear(second, HEADS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        embedded = self.dropout(torch.relu(self.embed(self.dropout_input(fingerprints))))
        return self.heads(self.dropout(torch.relu(self.hidden(embedded))))


def save(model: nn.Module, path: str) -> None:
    """Saves the scripted model without the debug records, which hold paths of the machine that made it."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(model), saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as sink:
        for record in source.infolist():
            if not record.filename.endswith(".debug_pkl"):
                sink.writestr(zipfile.ZipInfo(record.filename), source.read(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("--first", type=int, default=192, help="width of the first hidden layer")
    parser.add_argument("--second", type=int, default=64, help="width of the second hidden layer")
    parser.add_argument("--dropout-input", type=float, default=0.1)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    model = EcfpMlp(arguments.first, arguments.second, arguments.dropout_input, arguments.dropout)
    with torch.no_grad():
        # A task's first predictions are its centre: no site's first update pays for a random start.
        model.heads.weight.mul_(0.1)
        model.heads.bias.zero_()
    save(model, arguments.output)
    print(f"{arguments.output}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
