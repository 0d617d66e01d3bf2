#!/usr/bin/env python3
"""Reads percentiles off .hgrm files and compares them with those of the report beside them, and adds
up the slices of the .hlog files, which must be the same operations.

    percentiles.py report.json DIR

Exits with 1 and says where they differ. Knows nothing of the program that wrote them.
"""

import base64
import json
import math
import pathlib
import struct
import sys
import zlib

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


def slowest_hundredth(rows):
    """The mean of it; None if it has fewer than ten operations."""
    total = rows[-1][1]
    if total < 1000:
        return None
    faster = total - total // 100
    befores = [0] + [count for _, count in rows]
    above = ((value, count - max(before, faster)) for (value, count), before in zip(rows, befores))
    return sum(value * count for value, count in above if count > 0) / (total // 100)


def numbers(data):
    """Zigzag numbers of seven bits a byte, the last of nine bytes with eight."""
    place = 0
    while place < len(data):
        value = shift = 0
        for count in range(9):
            byte = data[place]
            place += 1
            if count == 8:
                value |= byte << shift
                break
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        yield (value >> 1) ^ -(value & 1)


def highest_of(index):
    """The highest value that shares a bucket, of histograms with three digits from 1 on."""
    half = 1024
    bucket = max(index // half - 1, 0)
    within = index - bucket * half
    return ((within + 1) << bucket) - 1


def added_up(path):
    """How many operations took how long, over all slices."""
    counts = {}
    for line in path.read_text().splitlines():
        if line.startswith(("#", '"')):
            continue
        packed = base64.b64decode(line.split(",")[3])
        histogram = zlib.decompress(packed[8:])
        length, digits, lowest = struct.unpack_from(">IxxxxIQ", histogram, 4)
        assert (digits, lowest) == (3, 1), (digits, lowest)
        index = 0
        for number in numbers(histogram[40 : 40 + length]):
            if number < 0:
                index -= number
                continue
            value = highest_of(index)
            counts[value] = counts.get(value, 0) + number
            index += 1
    return {value: count for value, count in counts.items() if count}


def counts_of(rows):
    """The same as a table has it."""
    before = 0
    counts = {}
    for value, count in rows:
        counts[value] = count - before
        before = count
    return counts


def differences(report, folder):
    timed = [row for row in report["rows"] if row["merged"]]
    for row in timed:
        name = f"{row['row']}.{row['contender']}.{row['class']}.hgrm"
        rows = table(folder / name)
        found = {key: percentile(rows, part) for key, part in PERCENTILES.items()}
        found["slowest_hundredth_ns"] = slowest_hundredth(rows)
        found["max_ns"] = rows[-1][0]
        log = added_up(folder / name.replace(".hgrm", ".hlog"))
        if log != counts_of(rows):
            yield f"{name}: the slices of its .hlog are {sum(log.values())} other operations"
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
