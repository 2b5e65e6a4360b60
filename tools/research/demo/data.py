"""What `engine-cli phantom` wrote: volumes as bytes in one file, findings as class numbers, questions."""
import json
from pathlib import Path

import numpy as np
import torch

# Attribute -> its values; the first of `lesion`, `organ`, `side` and `part` is "there is none".
VALUES = {
    "plane": ["Axial", "Coronal", "Sagittal", "Oblique"],
    "phase": ["Non-contrast", "Arterial", "Portal venous", "Delayed"],
    "lesion": [None, "Nodule", "Mass", "Cyst", "Calcification", "Effusion"],
    "organ": [None, "Lung", "Pleura", "Liver", "Spleen", "Kidney"],
    "side": [None, "Right", "Left"],
    "part": [None, "chest", "abdomen"],
}
COUNTS = {name: len(values) for name, values in VALUES.items()}
OF_LESION = ["lesion", "organ", "side", "part"]


CELL = 8  # lesion voxels are counted in squares of this side


def packed(folder, names, kind):
    """All files of a kind as one array beside the folder, made at the first use: voxels as bytes, or how many voxels
    of each square are lesion."""
    path = folder.with_name(f"{folder.name}{kind}.u8.npy")
    if not path.exists():
        pack = None
        for i, name in enumerate(names):
            voxels = np.load(folder / name.replace(".npy", f"{kind}.npy"))[0]
            if kind:
                slices, rows, columns = voxels.shape
                one = voxels.reshape(slices, rows // CELL, CELL, columns // CELL, CELL).sum((2, 4))
            else:
                one = voxels * 255
            if pack is None:
                pack = np.lib.format.open_memmap(path, "w+", np.uint8, (len(names), *one.shape))
            pack[i] = np.rint(one)
        pack.flush()
    return np.load(path, mmap_mode="r")


class Phantoms:
    """A folder of phantoms, their volumes packed beside it."""

    def __init__(self, folder, count=None, lesions=False):
        folder = Path(folder)
        items = json.loads((folder / "truth.json").read_text())
        by_volume = {}
        for item in items:
            by_volume.setdefault(item["vision3d"][0], []).append(item)
        names = list(by_volume)[:count]
        self.items = [by_volume[name] for name in names]
        self.volumes = packed(folder, list(by_volume), "")[:len(names)]
        self.lesions = packed(folder, list(by_volume), "_lesion")[:len(names)] if lesions else None
        truths = [items[0]["truth"] for items in self.items]
        self.classes = {name: torch.tensor([values.index(self.value(t, name)) for t in truths])
                        for name, values in VALUES.items()}
        slices = self.volumes.shape[1]
        ranges = torch.tensor([t["slices"] or [slices, -1] for t in truths])
        index = torch.arange(slices)
        self.touched = (index >= ranges[:, :1]) & (index <= ranges[:, 1:])

    def lesion_parts(self, index, patch):
        """How many voxels of each patch are lesion: `[len(index), slices, rows / patch, columns / patch]`."""
        cells = torch.from_numpy(np.ascontiguousarray(self.lesions[index])).long()
        side = patch // CELL
        return cells.unflatten(2, (-1, side)).unflatten(4, (-1, side)).sum((3, 5))

    @staticmethod
    def value(truth, name):
        if name == "part":
            return truth["place"] and truth["place"].split()[1]
        return truth[name]

    def __len__(self):
        return len(self.items)

    def voxels(self, index, blind=False):
        """`[len(index), slices, rows, columns]` f32 within 0..1."""
        volumes = torch.from_numpy(np.ascontiguousarray(self.volumes[index])).float().div_(255)
        return volumes.zero_() if blind else volumes
