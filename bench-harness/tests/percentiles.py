#!/usr/bin/env python3
"""Reads percentiles off .hgrm files and compares them with those of the report beside them.

    percentiles.py report.json DIR

Exits with 1 and says where they differ. Knows nothing of the program that wrote them.
"""

import json
import math
import pathlib
import sys

PERCENTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999, "p9999_ns": 0.9999}


def table(path):
    """Pairs of latency in ns and how many operations took at most as long."""
    rows = []
    for line in path.read_text().splitlines()[2:]:
        if line.startswith("#"):
            break
        value, _, count, *_ = line.split()
        rows.append((round(float(value) * 1000), int(count)))
    return rows


def percentile(rows, part):
    """None if fewer than ten operations lie beyond it."""
    total = rows[-1][1]
    if total < round(10 / (1 - part)):
        return None
    needed = math.ceil(part * total)
    return next(value for value, count in rows if count >= needed)


def differences(report, folder):
    timed = [row for row in report["rows"] if row["merged"]]
    for row in timed:
        name = f"{row['row']}.{row['contender']}.{row['class']}.hgrm"
        rows = table(folder / name)
        found = {key: percentile(rows, part) for key, part in PERCENTILES.items()}
        found["max_ns"] = rows[-1][0]
        for key, told in row["merged"].items():
            if found[key] != told:
                yield f"{name}: {key} is {found[key]}, the report says {told}"
    names = {path.name for path in folder.glob("*.hgrm")}
    if len(names) != len(timed):
        yield f"{len(names)} files for {len(timed)} rows"


def main():
    report, folder = sys.argv[1:]
    found = list(differences(json.loads(pathlib.Path(report).read_text()), pathlib.Path(folder)))
    print("\n".join(found) or "equal")
    return 1 if found else 0


sys.exit(main())
