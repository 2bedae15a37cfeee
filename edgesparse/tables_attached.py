"""What `edgesparse devices --attached` prints: a table of devices, one of their cores; or one JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgesparse.attached import READY, AttachedDevice
from edgesparse.machine_facts import AttachedCluster, MachineFacts
from edgesparse.report import print_json, print_table, warn


def attached(found: Sequence[AttachedDevice], json: bool) -> None:
    if json:
        return print_json([_document(x) for x in found])
    columns = ("device", "model", "SoC", "ABI", "system", "page kB", "free GB", "hottest C", "battery %", "state")
    print_table("", columns, [(x.serial, *_row(x.facts or MachineFacts()), x.state) for x in found])
    ready = [(x.serial, x.facts) for x in found if x.facts is not None]
    cores = [(serial, ", ".join(map(_cores, facts.clusters)), " ".join(facts.hwcap)) for serial, facts in ready]
    if cores:
        print_table("", ("device", "cores", "HWCAP"), cores)
    for x in found:
        if x.state != READY:
            what = x.state if x.serial in x.state else f"{x.serial}: {x.state}"
            warn(f"{what}; {x.fix}" if x.fix else what)
    return None


def _document(device: AttachedDevice) -> dict[str, object]:
    facts = device.facts
    clusters = [] if facts is None else [{**dataclasses.asdict(c), "count": c.count} for c in facts.clusters]
    document = dataclasses.asdict(device)
    if facts is not None:
        document["facts"]["clusters"] = clusters
    return document


def _row(facts: MachineFacts) -> tuple[object, ...]:
    return (
        facts.model, facts.soc, facts.abi, f"Android {facts.android}" if facts.android else facts.kernel,
        facts.page_bytes and facts.page_bytes // 1024, None if facts.free_bytes is None else facts.free_bytes / 1e9,
        facts.temperature_c, facts.battery_percent,
    )  # fmt: skip


def _cores(cluster: AttachedCluster) -> str:
    return f"{cluster.count}x {cluster.core}" + (f" {cluster.max_ghz:g} GHz" if cluster.max_ghz else "")
