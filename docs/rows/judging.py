"""Tables of what attacks, margins and the diagnosis found, and of what they cost."""

import statistics
from functools import partial

from rows.cells import HERE, RESULTS, percent, spread, table

from holdfast import record
from holdfast.record import Row
from holdfast.result import wilson
from holdfast.study import song

STATIC = {"size": "gradient length", "gap": "linearity gap", "eigenvalue": "largest eigenvalue",
          "scale": "logit scale"}  # fmt: skip
DYNAMIC = {"cos_to_prev": "cosine to the last step", "sign_consistency": "sign consistency",
           "turn": "turn of the path"}  # fmt: skip


def attacks() -> str:
    """Strength of ours and of each peer, and the cost beside the cheapest that is as strong, or
    beside the strongest; the last run of each network and attack."""
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in record.rows(RESULTS / "attack-speed.jsonl"):
        key = (row["network"], row["attack"])
        runs[key] = [row] if row["library"] == "holdfast" else [*runs[key], row]
    body = []
    for ours, *peers in (runs[key] for key in sorted(runs)):
        body.append([
            f"{ours['network']}, {ours['radius']:.3g}", ours["attack"], str(ours["images"]),
            strength(ours), "; ".join(f"{row['library']} {strength(row)}" for row in peers),
            f"{ours['forward'] + ours['backward']:.0f}", f"{ours['seconds']:.1f}",
            f"{ours['ratio_passes']:.2f}", f"{ours['ratio']:.2f}",
        ])  # fmt: skip
    head = ["network, radius", "attack", "images", "ours", "peers", "passes/image", "seconds",
            "times fewer passes", "times faster"]  # fmt: skip
    return table(head, body)


def strength(row: Row) -> str:
    """Robust accuracy in per cent, or the median l2 distance of an attack that has no budget."""
    if row["accuracy"] is not None:
        return f"{percent(row['accuracy'])} %"
    return "none" if row["median"] is None else f"{row['median']:.3f}"


def reliable() -> str:
    """Robust accuracy and passes per image of the suites standard and reliable."""
    body = []
    for row in record.rows(RESULTS / "reliable.jsonl"):
        apart, scale = row["difference"], row["scale"]
        masked = f", logits × {scale:g}" if scale != 1 else ""
        body.append([
            f"{row['network']}{masked}, {row['norm']} {row['radius']:.3g}", str(apart["images"]),
            percent(row["standard"]["clean"]), percent(row["standard"]["accuracy"]),
            percent(row["reliable"]["accuracy"]),
            f"{100 * apart['low']:+.1f} to {100 * apart['high']:+.1f}",
            f"{row['standard']['passes']:.0f}", f"{row['reliable']['passes']:.0f}",
            percent(row["share_of_passes"]), ", ".join(row["without"]) or "-",
        ])  # fmt: skip
    head = ["network, budget", "images", "clean %", "`standard` %", "`reliable` %",
            "95 % interval of the difference (points)", "passes/image of `standard`",
            "of `reliable`", "share %", "left out"]  # fmt: skip
    return table(head, body)


def margins() -> str:
    rows = record.rows(RESULTS / "margin-speed.jsonl")
    body = [
        [row["network"], f"{row['images']} x {row['rays'] // row['images']:,}",
         "yes" if row["clip"] else "no", row["contender"], f"{row['forward'] / row['rays']:.2f}",
         f"{row['fewer_passes']:.1f}", f"{row['faster']:.1f}",
         f"{row['differing']} (at most {100 * row['differing_high']:.2f} %)"]
        for row in rows
    ]  # fmt: skip
    head = ["network", "images x rays", "clipped", "contender", "passes per ray",
            "times fewer passes", "times faster", "rays that differ"]  # fmt: skip
    return table(head, body)


def full_search() -> str:
    body = [
        [row["network"], f"{row['images']:,} x {row['rays']:,}", f"{100 * row['none_share']:.1f}",
         str(row["processes"]), f"{row['minutes']:.1f}",
         f"{row['forward'] / (row['images'] * row['rays']):.2f}",
         f"{row['differing']} of {row['audited']:,} "
         f"(at most {1e4 * row['differing_interval'][1]:.2f} in 10,000)"]
        for row in record.rows(RESULTS / "full-search.jsonl")
    ]  # fmt: skip
    head = ["network", "images x rays", "without a change of class %", "processes", "minutes",
            "passes per ray", "audited rays that differ"]  # fmt: skip
    return table(head, body)


def masking(data: str) -> str:
    """What the diagnosis says of models whose truth is known, by model over seeds: the newest."""
    newest = {(row.get("data", "digits"), row["world"], row["network_seed"]): row
              for row in record.rows(RESULTS / "masking-truth.jsonl")}  # fmt: skip
    rows = [row for (where, *_), row in newest.items() if where == data]
    body = []
    for world in dict.fromkeys(row["world"] for row in rows):
        held = [row for row in rows if row["world"] == world]
        fired = sum(bool(row["findings"]) for row in held)
        near = wilson(fired, len(held))
        always = [name for name in held[0]["findings"]
                  if all(name in row["findings"] for row in held)]  # fmt: skip
        means = (percent(statistics.fmean(row[key] for row in held)) for key in ("claimed", "left"))
        body.append([
            world, "none" if held[0]["healthy"] else "ill",
            f"{fired} of {len(held)} ({percent(near.low)} to {percent(near.high)} %)", *means,
            ", ".join(always) or "-",
        ])  # fmt: skip
    head = ["model", "illness", "flagged", "claimed %", "left %", "findings in every seed"]
    return table(head, body)


def by_network(part: str) -> dict[str, list[Row]]:
    """Of the controls on CIFAR-10, the rows that hold this, seed by seed."""
    rows = [row for row in record.rows(RESULTS / "masking-controls.jsonl") if part in row]
    return {name: [row for row in rows if row["network"] == name]
            for name in dict.fromkeys(row["network"] for row in rows)}  # fmt: skip


def clean_bill() -> str:
    """What the diagnosis says of robust networks and of their saturated copies: the newest."""
    newest = {(row["network"], row["quick"], row["model"]): row
              for row in record.rows(RESULTS / "clean-bill.jsonl")}  # fmt: skip
    body = []
    for row in newest.values():
        found = row["diagnosis"]
        near = [percent(end) for end in found["left_interval"]]
        body.append([
            f"`{row['network']}`", row["model"], "quick" if row["quick"] else "default",
            str(found["images"]), percent(found["clean_accuracy"]),
            percent(found["claimed_accuracy"]),
            f"{percent(found['left_accuracy'])} ({' to '.join(near)})",
            found["verdict"].split(":")[0],
            ", ".join(finding["name"] for finding in found["findings"]) or "-",
        ])  # fmt: skip
    head = ["network", "logits", "depth", "images", "clean %", "PGD-20 claims %", "left %",
            "verdict", "findings"]  # fmt: skip
    return table(head, body)


def diagnosis_time() -> str:
    """What a diagnosis costs, and says, at each depth."""
    body = []
    for row in record.rows(RESULTS / "diagnosis-time.jsonl"):
        near = [percent(end) for end in row["left_interval"]]
        body.append([
            "quick" if row["quick"] else "default", f"{row['images']:,}", f"{row['passes']:,}",
            f"{row['seconds'] / 60:.1f}", percent(row["claimed_accuracy"]),
            f"{percent(row['left_accuracy'])} ({' to '.join(near)})", row["verdict"].split(":")[0],
        ])  # fmt: skip
    head = ["depth", "images", "passes", "minutes", "PGD-20 claims %", "left %", "verdict"]
    return table(head, body)


def controls() -> str:
    """What PGD claims for each control and what stronger attacks leave, over seeds."""
    body = []
    for name, rows in by_network("diagnosis").items():
        found = [row["diagnosis"] for row in rows]
        keys = ("clean_accuracy", "claimed_accuracy", "left_accuracy")
        tempered = zip(*(row["pgd_at"] for row in rows), strict=True)
        flagged = sorted({finding["name"] for each in found for finding in each["findings"]})
        body.append([
            f"`{name}`", *(spread([each[key] for each in found]) for key in keys),
            spread([row["reliable"] for row in rows]), *map(spread, tempered),
            f"{sum(bool(each['findings']) for each in found)} of {len(rows)}"
            + f" ({', '.join(flagged)})" * bool(flagged),
        ])  # fmt: skip
    degrees = next(iter(by_network("diagnosis").values()), [{"temperatures": []}])[0]
    head = ["network", "clean %", "PGD-20 claims %", "diagnosis leaves %", "`reliable` leaves %",
            *(f"PGD-20 at T = {degree:g} %" for degree in degrees["temperatures"]),
            "flagged"]  # fmt: skip
    return table(head, body)


def indicators() -> str:
    """Indicators of each control on cross-entropy, over seeds: means over images."""
    body = []
    for name, rows in by_network("diagnosis").items():
        found = [row["diagnosis"] for row in rows]
        still, moving = ([each[kind][0] for each in found] for kind in ("static", "dynamic"))
        cells = [[each[key]["mean"] for each in still] for key in STATIC]
        cells += [[each[key]["mean"] for each in moving] for key in DYNAMIC]
        cells += [[each["entropy"]["attacked"]["bits"]["overall"]["mean"] for each in found]]
        body.append([f"`{name}`", *(song.spread(values, 3, 1) for values in cells)])
    return table(["network", *STATIC.values(), *DYNAMIC.values(), "entropy, attacked (bits)"], body)


def battery() -> str:
    """Whole suites, attack by attack; the last evaluation of each network by each suite."""
    last: dict[tuple[str, str, str], Row] = {}
    for row in record.rows(RESULTS / "battery.jsonl"):
        last[row["network"], row["battery"], row["name"]] = row
    body = []
    for (network, suite, name), row in last.items():
        near = f"{percent(row['low'])} to {percent(row['high'])}"
        median, images = row["median_distance"], row["images"]
        body.append([
            network, f"`{suite}`", f"`{name}`", f"{row['norm']} {row['radius']:.3g}",
            f"{images:,}", f"{row['attacked']:,}", f"{percent(row['accuracy'])} ({near})",
            "-" if median is None else f"{median:.3f}", f"{row['passes'] / images:,.0f}",
            f"{row['seconds']:,.0f}",
        ])  # fmt: skip
    head = ["network", "suite", "attack", "budget", "images", "of them attacked", "left %",
            "median distance", "passes/image", "seconds"]  # fmt: skip
    return table(head, body)


def song_table(data: str, name: str) -> str:
    """A table of Song et al. 2019, with its figure; nothing before there are rows."""
    rows = record.rows(RESULTS / f"song-{data}.jsonl")
    head, body = song.TABLES[name](rows, song.PUBLISHED[data])
    figure = f"figures/song-{data}-{name}.png"
    drawn = f"\n\n![{name}, {data}]({figure})" if (HERE / figure).exists() else ""
    return table(head, body) + drawn if body else ""


TABLES = {
    "attacks": attacks, "battery": battery, "clean_bill": clean_bill, "controls": controls,
    "diagnosis_time": diagnosis_time, "full_search": full_search, "indicators": indicators,
    "margins": margins,
    "masking": partial(masking, "digits"), "masking_cifar10": partial(masking, "cifar10"),
    "reliable": reliable,
}  # fmt: skip
TABLES |= {f"song_{d}_{n}": partial(song_table, d, n) for d in song.PUBLISHED for n in song.TABLES}
