"""The tables of the documentation, built from the rows in results/.

    python docs/tables.py          # writes them into the pages

A page holds `<!-- table: NAME -->` and `<!-- end -->`; what stands between them is replaced. A test
fails when a page and its rows disagree, so no number in a table is typed by hand.
"""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from holdfast import record
from holdfast.record import Row
from holdfast.result import wilson
from holdfast.study import song

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
WAYS = ("forward", "backward")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def tested(row: Row) -> list[str]:
    """Clean, attacks and worst case of a row's test results, each with its 95 % interval."""
    found = row["test"]
    cells = [percent(found["clean_accuracy"])]
    cells += [
        f"{percent(a['accuracy'])} ({percent(a['low'])} to {percent(a['high'])})"
        for a in found["attacks"]
    ]
    return [*cells, percent(found["worst_case_accuracy"])]


def cifar10() -> str:
    rows = record.rows(RESULTS / "cifar10-objectives.jsonl")
    last = {row["objective_name"]: row for row in rows if row.get("epoch") == row["epochs"]}
    body = []
    for row in (row for row in rows if "test" in row):
        end = last[row["objective_name"]]
        body.append([
            f"`{row['objective_name']}`", *tested(row), f"{100 * end['gap']:+.1f}",
            f"{end['validation_entropy']:.2f}", f"{row['images']:,}", str(row["seed"]),
        ])  # fmt: skip
    head = ["objective", "clean %", "FGSM %", "PGD-20 %", "worst %", "gap (points)",
            "entropy (bits)", "training images", "seed"]  # fmt: skip
    return table(head, body)


def mnist() -> str:
    rows = [row for row in record.rows(RESULTS / "mnist-reward.jsonl") if "test" in row]
    body = [
        [row["run"], f"{100 * row['test_clean_all']['clean_accuracy']:.2f}", *tested(row)[1:],
         str(row["epochs"]), str(row["seed"])]
        for row in rows
    ]  # fmt: skip
    head = ["training", "clean %, all 10,000", "FGSM %", "PGD-40 %", "PGD-40 margin %", "worst %",
            "epochs", "seed"]  # fmt: skip
    return table(head, body)


def start() -> str:
    rows = record.rows(RESULTS / "mnist-start.jsonl")
    body = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        mine = [row for row in rows if row["variant"] == variant]
        digits = ", ".join(str(row["digits_known"]) for row in mine)
        accuracy = spread([row["validation_clean"] for row in mine])
        body.append([variant, accuracy, digits, str(len(mine))])
    return table(["objective", "accuracy %", "digits it predicts", "seeds"], body)


def spread(values: Sequence[float]) -> str:
    """Mean and, over several seeds, standard deviation, in per cent."""
    mean = percent(statistics.mean(values))
    return f"{mean} ± {percent(statistics.stdev(values))}" if len(values) > 1 else mean


def feedback() -> str:
    rows = record.rows(RESULTS / "mnist-feedback.jsonl")
    body = []
    for cut, variant in dict.fromkeys((row["cut"], row["variant"]) for row in rows):
        mine = [row for row in rows if (row["cut"], row["variant"]) == (cut, variant)]
        digits = [[row["recall"][digit] for row in mine] for digit in (3, 8)]
        body.append([
            variant, f"{100 * cut:.0f} %", spread([row["test_clean"] for row in mine]),
            *map(spread, digits), str(len(mine)),
        ])  # fmt: skip
    head = ["objective", "kept of digits 3 and 8", "accuracy %", "recall of 3 %", "recall of 8 %",
            "seeds"]  # fmt: skip
    return table(head, body)


def guard() -> str:
    rows = record.rows(RESULTS / "mnist-guard.jsonl")
    body = []
    for row in (row for row in rows if "test" in row):
        key = (row["variant"], row["seed"])
        mine = [r for r in rows if "validation_pgd" in r and (r["variant"], r["seed"]) == key]
        body.append([
            f"`{row['variant']}`", str(row["epochs"]), str(mine[-1].get("rollbacks", 0)),
            percent(max(r["validation_pgd"] for r in mine)), *tested(row)[:-1], str(row["seed"]),
        ])  # fmt: skip
    head = ["guard", "epochs", "rollbacks", "best PGD-10 on validation %", "clean %", "FGSM %",
            "PGD-40 %", "seed"]  # fmt: skip
    return table(head, body)


def handover() -> str:
    rows = record.rows(RESULTS / "cifar10-handover.jsonl")
    body = []
    for row in (row for row in rows if "test" in row):
        key = (row["variant"], row["seed"])
        mine = [r for r in rows if "epoch" in r and (r["variant"], r["seed"]) == key]
        passes = [sum(r[f"{way}_passes"] for r in mine) for way in WAYS]
        body.append([
            row["variant"], *tested(row), f"{mine[-1]['validation_entropy']:.2f}",
            *(f"{number:.1f}" for number in passes), f"{row['images']:,}", str(row["seed"]),
        ])  # fmt: skip
    head = ["objective", "clean %", "FGSM %", "PGD-20 %", "worst %", "entropy (bits)",
            "forward/image", "backward/image", "training images", "seed"]  # fmt: skip
    return table(head, body)


def folder() -> str:
    rows = record.rows(RESULTS / "folder-epoch.jsonl")
    body = [
        [f"`{row['network']}`", str(row["image_size"]), f"{row['train']:,}",
         f"{row['first_load_seconds']:.1f}", f"{row['second_load_seconds']:.2f}",
         f"{row['epoch_seconds']:.0f}", f"{row['peak_memory_gib']:.1f}"]
        for row in rows
    ]  # fmt: skip
    head = ["network", "pixels", "training images", "making the map (s)", "opening it again (s)",
            "epoch (s)", "peak memory (GiB)"]  # fmt: skip
    return table(head, body)


def processes() -> str:
    rows = record.rows(RESULTS / "processes.jsonl")
    body = [
        [str(row["processes"]), f"{row['images_per_second']:.0f}", f"{row['against_one']:.2f}"]
        for row in rows
    ]
    return table(["processes", "images/s", "times one process"], body)


def speed() -> str:
    rows = record.rows(RESULTS / "train-speed.jsonl")
    body = [
        [f"`{row['network']}`", row["method"], row["contender"],
         f"{row['images_per_second']:.0f}", f"{row['ratio']:.2f}", f"{row['times_plain']:.2f}"]
        for row in rows
    ]  # fmt: skip
    head = ["network", "training", "contender", "images/s", "times the peer's speed",
            "times its own plain step"]  # fmt: skip
    return table(head, body)


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


def environment() -> str:
    rows = record.rows(RESULTS / "environment-speed.jsonl")
    body = [
        [f"`{row['contender']}`", f"{row['steps_per_second']:,.0f}",
         f"{row['ratio']:.1f}" if "ratio" in row else "-",
         percent(row["share"]) if "share" in row else "-"]
        for row in rows
    ]  # fmt: skip
    head = ["contender", "steps/s", "times as fast is `vector`", "share of the environment %"]
    return table(head, body)


def demo() -> str:
    rows = record.rows(RESULTS / "demo.jsonl")
    body = [[row["name"], *tested(row), f"{row['test']['entropy_bits']:.2f}",
             f"{row['seconds']:.0f}"] for row in rows]  # fmt: skip
    head = ["classifier", "clean %", "FGSM %", "PGD-20 %", "worst %", "entropy (bits)",
            "training (s)"]  # fmt: skip
    return table(head, body)


def masking() -> str:
    """What the diagnosis says of models whose truth is known, by model over seeds."""
    rows = record.rows(RESULTS / "masking-truth.jsonl")
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


def song_table(data: str, name: str) -> str:
    """A table of Song et al. 2019, with its figure; nothing before there are rows."""
    rows = record.rows(RESULTS / f"song-{data}.jsonl")
    head, body = song.TABLES[name](rows, song.PUBLISHED[data])
    figure = f"figures/song-{data}-{name}.png"
    drawn = f"\n\n![{name}, {data}]({figure})" if (HERE / figure).exists() else ""
    return table(head, body) + drawn if body else ""


TABLES: dict[str, Callable[[], str]] = {
    "attacks": attacks, "cifar10": cifar10, "demo": demo, "environment": environment,
    "feedback": feedback, "folder": folder, "guard": guard, "handover": handover,
    "margins": margins, "masking": masking, "mnist": mnist, "processes": processes,
    "reliable": reliable, "speed": speed, "start": start,
}  # fmt: skip
TABLES |= {f"song_{d}_{n}": partial(song_table, d, n) for d in song.PUBLISHED for n in song.TABLES}


def filled(page: str) -> str:
    """The page with each of its tables built anew."""
    pattern = r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in HERE.glob("*.md"):
        record.write(path, filled(path.read_text()))
