"""Tables of what training came to, and of what it costs."""

import statistics
from functools import partial

from rows.cells import RESULTS, percent, spread, table, tested

from holdfast import record

WAYS = ("forward", "backward")


def cifar10(study: str = "cifar10-objectives") -> str:
    rows = record.rows(RESULTS / f"{study}.jsonl")
    ended = {
        (row["objective_name"], row["seed"], row["epoch"]): row for row in rows if "epoch" in row
    }
    body = []
    for row in (row for row in rows if "test" in row):
        reached = row.get("reached", row["epochs"])  # fewer, where it was broken off
        end = ended[row["objective_name"], row["seed"], reached]
        body.append([
            f"`{row['objective_name']}`", *tested(row), f"{100 * end['gap']:+.1f}",
            f"{end['validation_entropy']:.2f}", str(end["epoch"]), f"{row['images']:,}",
            str(row["seed"]),
        ])  # fmt: skip
    head = ["objective", "clean %", "FGSM %", "PGD-20 %", "worst %", "gap (points)",
            "entropy (bits)", "epochs", "training images", "seed"]  # fmt: skip
    return table(head, body)


def cifar10_long_means() -> str:
    """Means over ten epochs of the long runs, and gaps from training to validation images."""
    rows = [row for row in record.rows(RESULTS / "cifar10-long.jsonl") if "epoch" in row]
    columns = [(name, last) for name in ("ce", "reward") for last in (50, 136, 220)]

    def mean(seed: int, measure: str, name: str, last: int) -> float:
        found = {row["epoch"]: row[measure] for row in rows
                 if (row["objective_name"], row["seed"]) == (name, seed)}  # fmt: skip
        return 100 * statistics.mean(found[epoch] for epoch in range(last - 9, last + 1))

    body = []
    for measure, called in (("clean", "clean"), ("pgd", "PGD-10")):
        for seed in sorted({row["seed"] for row in rows}):
            validation = [mean(seed, f"validation_{measure}", *one) for one in columns]
            train = [mean(seed, f"train_{measure}", *one) for one in columns]
            apart = [f"{a - b:+.1f}" for a, b in zip(train, validation, strict=True)]
            left = [f"{one:.1f}" for one in validation]
            body.append([f"{called}, validation %", str(seed), *left])
            body.append([f"{called}, training less validation (points)", str(seed), *apart])
    head = ["", "seed", *(f"`{name}`, {last - 9} to {last}" for name, last in columns)]
    return table(head, body)


def cifar10_long_pairs() -> str:
    """What is left of the long runs of one seed, and their paired differences, in points."""
    body = []
    for row in record.rows(RESULTS / "cifar10-long-pairs.jsonl"):
        for name in ("clean", "worst case"):
            one = row["difference"][name]
            left = [f"{percent(run[name][0])} ({percent(run[name][1])} to {percent(run[name][2])})"
                    for run in row["runs"]]  # fmt: skip
            points = [f"{100 * one[end]:+.1f}" for end in ("difference", "low", "high")]
            epochs = [str(run["epoch"]) for run in row["runs"]]
            (seed,) = {run["run"].rpartition("-")[2] for run in row["runs"]}
            body.append([seed, f"`{row['suite']}`", f"{one['images']:,}", *epochs, name, *left,
                         f"{points[0]} ({points[1]} to {points[2]})"])  # fmt: skip
    head = ["seed", "suite", "test images", "epochs of `ce`", "of `reward`", "", "`ce` %",
            "`reward` %", "`ce` less `reward` (points)"]  # fmt: skip
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


def demo() -> str:
    newest = {row["name"]: row for row in record.rows(RESULTS / "demo.jsonl")}
    body = [[row["name"], *tested(row), f"{row['test']['entropy_bits']:.2f}",
             f"{row['seconds']:.0f}"] for row in newest.values()]  # fmt: skip
    head = ["classifier", "clean %", "FGSM %", "PGD-20 %", "worst %", "entropy (bits)",
            "training (s)"]  # fmt: skip
    return table(head, body)


def learners() -> str:
    """Reinforcement learners on MNIST, by rare digits, weights and learner over seeds."""
    rows = record.rows(RESULTS / "rl-mnist.jsonl")
    body = []
    for key in dict.fromkeys((row["cut"], row["weighted"], row["learner"]) for row in rows):
        mine = [row for row in rows if (row["cut"], row["weighted"], row["learner"]) == key]
        cut, weighted, learner = key
        fell = [[row["test"]["attacks"][place]["accuracy"] for row in mine] for place in (0, 1)]
        rare = [[row["recall"][digit] for row in mine] for digit in (3, 8)]
        seconds = statistics.fmean(row["seconds"] for row in mine)
        body.append([
            f"`{learner}`", f"{100 * cut:.0f} %", "balanced" if weighted else "-",
            spread([row["test_clean"] for row in mine]), *map(spread, fell), *map(spread, rare),
            f"{seconds:.0f}", f"{mine[0]['steps']:,}", str(len(mine)),
        ])  # fmt: skip
    head = ["learner", "kept of digits 3 and 8", "class weights", "clean %", "FGSM %", "PGD-20 %",
            "recall of 3 %", "recall of 8 %", "seconds", "images seen", "seeds"]  # fmt: skip
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
        [f"`{row['network']}`", "yes" if row["bf16"] else "no", str(row["batch"]),
         row["method"], row["contender"], f"{row['images_per_second']:.0f}",
         f"{row['ratio']:.2f}", f"{row['times_plain']:.2f}"]
        for row in rows
    ]  # fmt: skip
    head = ["network", "processor with bf16", "batch", "training", "contender", "images/s",
            "times the peer's speed", "times its own plain step"]  # fmt: skip
    return table(head, body)


TABLES = {
    "cifar10": cifar10, "cifar10_full": partial(cifar10, "cifar10-full"),
    "cifar10_long": partial(cifar10, "cifar10-long"),
    "cifar10_long_means": cifar10_long_means, "cifar10_long_pairs": cifar10_long_pairs,
    "demo": demo,
    "environment": environment, "feedback": feedback, "folder": folder, "guard": guard,
    "handover": handover, "learners": learners, "mnist": mnist, "processes": processes,
    "speed": speed, "start": start,
}  # fmt: skip
