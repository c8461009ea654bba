#!/usr/bin/env python3
"""Writes the small models of the trainer's tests: one that can be trained and several that must be refused.

Needs Python with torch 2.11.0; the project itself does not, because the files this writes are committed.

    python3 site-enclave/tests/models/make_models.py [NAME ...]
"""
import io
import pathlib
import sys
import zipfile
from typing import Dict, List, Optional, Tuple

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


class Residual(nn.Module):
    """Can be trained: blocks in a list, normalisation by layer and group, and attributes of every plain type."""

    none: List[int]
    empty: Dict[str, float]
    shift: Optional[torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(BITS, 4)
        self.blocks = nn.ModuleList([
            nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.GELU(), nn.Dropout(0.1)) for _ in range(2)
        ])
        self.norm = nn.GroupNorm(2, 4)
        self.activation = nn.PReLU()
        self.heads = nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.step = 0.5
        self.large = 1 << 40
        self.negative = -7
        self.label = "residual"
        self.gated = True
        self.widths = [4, 4]
        self.factors = [0.5, 1.5]
        self.names = ["a", "b"]
        self.none = []
        self.switches = [True, False]
        self.table = {"a": 1, "b": 2}
        self.empty = {}
        self.mixed = (1, 2.0, "z")
        self.pairs: List[Tuple[int, float]] = [(1, 2.0)]
        self.shift = None

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        x = self.embed(fingerprints)
        for block in self.blocks:
            x = x + block(x) * self.step
        if self.gated and self.switches[0]:
            x = self.activation(self.norm(x))
        shift = self.shift
        if shift is not None:
            x = x + shift
        unused = len(self.none) + len(self.names) + len(self.pairs) + len(self.empty) + self.table["a"] + self.mixed[0]
        unused = unused + self.widths[0] + self.large + self.negative + len(self.label)
        return self.heads(x) * self.temperature + torch.tensor([0.0, 0.0, 0.0]) + float(unused) * self.factors[0] * 0.0


class Attention(nn.Module):
    """Can be trained: the fingerprint as a sequence of 32 pieces, with attention, a recurrent layer and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(64, 8)
        self.encode = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.read = nn.GRU(8, 4, batch_first=True)
        self.slide = nn.Conv1d(8, 4, 3)
        self.heads = nn.Linear(4, 2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        x = self.encode(self.embed(fingerprints.view(-1, 32, 64)))
        read, _ = self.read(x)
        return self.heads(read[:, -1] + self.slide(x.transpose(1, 2)).mean(2))


class Endless(nn.Module):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(BITS, 2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        x = self.heads(fingerprints)
        while x.numel() > 0:
            x = x + 1.0
        return x


class Greedy(nn.Module):
    """Asks for more memory than any site has."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(BITS, 2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        kept = [self.heads(fingerprints)]
        while len(kept) > 0:
            kept.append(torch.ones([1024, 1024, 256]))
        return kept[0]


class Reader(nn.Module):
    """Reads a file of the machine that it runs on."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(BITS, 2)

    def forward(self, fingerprints: torch.Tensor) -> torch.Tensor:
        return self.heads(fingerprints) + torch.from_file("/etc/hostname", False, 1, dtype=torch.uint8).sum()


MODELS = {
    "linear": Linear, "batch-norm": BatchNorm, "hidden-tensor": HiddenTensor, "double-precision": DoublePrecision,
    "other-input": OtherInput, "other-output": OtherOutput, "no-parameters": NoParameters,
    "residual": Residual, "attention": Attention, "endless": Endless, "greedy": Greedy, "reader": Reader,
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
    wanted = sys.argv[1:] or [*MODELS]
    for name, model in MODELS.items():
        if name in wanted:
            save(model(), HERE / f"{name}.pt")


if __name__ == "__main__":
    main()
