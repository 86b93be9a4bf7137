"""Does the diagnosis pass an honest network, and see through a dishonest copy of it?

    python recipes/clean_bill.py runs/mnist-pgd --radius 0.3

The network of a run trained against PGD, and the same with its logits times 1,000, whose
predictions are the same and whose cross-entropy has no gradient left. What the diagnosis says of
each becomes a row of results/clean-bill.jsonl.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import holdfast as hf
from holdfast import diagnosis, record

parser = argparse.ArgumentParser(description="A robust network and its saturated copy, diagnosed")
parser.add_argument("run", type=Path)
parser.add_argument("--data-root")
parser.add_argument("--radius", type=float, default=0.3)
parser.add_argument("--images", type=int, default=200)
parser.add_argument("--quick", action="store_true")
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)
network = hf.model.load(options.run / "checkpoints" / "last").eval()
config = record.read_yaml(options.run / "config.yaml")
test = hf.data.load(config["data"], root=options.data_root).test.sample(options.images)


class Saturated(nn.Module):
    """The same classifier with its logits times 1,000."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * self.body(x)


for name, model in {"as trained": network, "logits × 1,000": Saturated(network)}.items():
    found = diagnosis.diagnose(
        model, test.x, test.y, index=test.index, radius=options.radius,
        depth=diagnosis.QUICK if options.quick else diagnosis.DEFAULT,
        folder=options.run / "drafts",
    )  # fmt: skip
    print(name, found.table(), sep="\n", flush=True)
    about = record.provenance(
        network=options.run.name, data=config["data"], model=name, radius=options.radius,
        quick=options.quick, threads=options.threads,
    )  # fmt: skip
    record.append(
        options.results / "clean-bill.jsonl", record.plain(about | {"diagnosis": found.as_dict()})
    )
