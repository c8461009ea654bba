#!/usr/bin/env python3
"""Writes ecfp4.json: what RDKit says about structures, for the fingerprint test.

Needs RDKit (`pip install rdkit`); the project itself does not, because the file this writes is committed. The
structures are the reference set and a spread of molecules from AqSolDB (CC0), followed by texts that RDKit refuses.

    python3 site-enclave/tests/vectors/make_ecfp4.py third_party/demo-data/admet.csv
"""
import csv
import json
import pathlib
import sys

import rdkit
from rdkit import Chem, RDLogger
from rdkit.Chem import rdFingerprintGenerator

HERE = pathlib.Path(__file__).resolve().parent
REFERENCE = HERE.parent.parent / "src" / "features" / "reference.smi"
REFUSED = [
    "c1cccc1", "C1CC", "CC(", "C)C", "[Xx]", "F(C)C", "C(C)(C)(C)(C)C", "O(C)(C)C", "N(C)(C)(C)C", "c1ccccc",
    "c1ccncc1(C)C", "[C", "C]", "CC=", "hello", "1CC1", "C==C", "C%1", "CN(C)(C)(C)C", "Cl=C", "Br(C)C",
    "c1ccc2ccccc2c", "n1cccc1", "[H", "C1CC2", "C..=", "=C", "()", "[]", "[CH5+2",
]


def main() -> None:
    RDLogger.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    structures = REFERENCE.read_text().split()
    with open(sys.argv[1], newline="", encoding="utf-8") as source:
        solubility = [row["SMILES_Structure_Parent"] for row in csv.DictReader(source) if row["Test"] == "Solubility"]
    structures += solubility[::160]
    vectors = []
    for smiles in dict.fromkeys(structures):
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is not None:
            vectors.append({"smiles": smiles, "bits": list(generator.GetFingerprint(molecule).GetOnBits())})
    refused = [smiles for smiles in REFUSED if Chem.MolFromSmiles(smiles) is None]
    document = {"rdkit": rdkit.__version__, "vectors": vectors, "refused": refused}
    with open(HERE / "ecfp4.json", "w", encoding="utf-8") as sink:
        lines = ",\n".join("  " + json.dumps(vector, separators=(",", ":")) for vector in vectors)
        sink.write('{"rdkit": %s,\n"vectors": [\n%s\n],\n"refused": %s}\n'
                   % (json.dumps(document["rdkit"]), lines, json.dumps(refused)))
    print(f"{len(vectors)} fingerprints, {len(refused)} refused of {len(REFUSED)}")


if __name__ == "__main__":
    main()
