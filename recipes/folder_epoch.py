"""One epoch of reward training over a folder of photographs, by way of the memory map.

    python recipes/folder_epoch.py PATH --image-size 224 --network torchvision:resnet18

PATH holds class folders (docs/data.md). A row of results/folder-epoch.jsonl says what making the
map cost, what opening it again cost, and how fast the epoch went.
"""

import argparse
import resource
import time
from pathlib import Path

import torch

import holdfast as hf
from holdfast import record
from holdfast.feedback import PolicyGradient

parser = argparse.ArgumentParser(description="An epoch over a folder")
parser.add_argument("path")
parser.add_argument("--image-size", type=int, default=224)
parser.add_argument("--network", default="torchvision:resnet18")
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--results", type=Path, default=Path("results"))
options = parser.parse_args()

torch.set_num_threads(options.threads)


def load() -> tuple[hf.data.Dataset, float]:
    start = time.perf_counter()
    found = hf.data.load(f"folder:{options.path}", size=options.image_size)
    return found, time.perf_counter() - start


(_, first), (data, second) = load(), load()
network = hf.model.create(
    options.network, image=data.image, classes=data.classes, mean=data.mean, std=data.std, seed=0
)
trained = hf.train(
    network, data, epochs=1, batch_size=options.batch, augment=hf.data.Augment(flip=True),
    objective=PolicyGradient(samples=8, baseline="leave_one_out", entropy=0.1),
    watch=hf.training.Watch(images=50),
)  # fmt: skip
row = trained.history[-1]
found = {
    "folder": Path(options.path).name, "image_size": options.image_size, "network": options.network,
    "train": len(data.train), "validation": len(data.validation), "test": len(data.test),
    "classes": data.classes, "first_load_seconds": first, "second_load_seconds": second,
    "epoch_seconds": row["seconds"], "images_per_second": row["images_per_second"],
    "validation_clean": row["validation_clean"],
    "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}  # fmt: skip
record.append(options.results / "folder-epoch.jsonl", record.provenance(**found))
print(found)
