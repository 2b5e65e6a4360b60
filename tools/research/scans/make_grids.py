"""Writes loaders/tests/data/grids.json: NRRD and MetaImage by SimpleITK, and what nibabel makes of the same image."""

import itertools
import json
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

OUT = Path(__file__).parents[3] / "loaders/tests/data/grids.json"
SIZE = (4, 3, 2)
SPACING = (0.5, 0.75, 2.0)
TYPES = ["Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64"]


def image(pixel="Int16", direction=None):
    """Voxels that count up from -5, or from 0 where there is no sign."""
    first = 0 if pixel.startswith("U") else -5
    voxels = np.arange(first, first + 24).reshape(SIZE[::-1])
    made = sitk.Cast(sitk.GetImageFromArray(voxels.astype(np.int32)), getattr(sitk, f"sitk{pixel}"))
    made.SetSpacing(SPACING)
    made.SetOrigin((-3.0, 4.0, 5.0))
    made.SetDirection(np.eye(3).ravel() if direction is None else direction.ravel())
    return made


def reading_order(made, folder):
    """The voxels superior, anterior, right first, and their spacing, by the NIfTI file."""
    sitk.WriteImage(made, str(folder / "truth.nii"))
    ras = nibabel.as_closest_canonical(nibabel.load(folder / "truth.nii"))
    voxels = np.asarray(ras.dataobj)[::-1, ::-1, ::-1].transpose(2, 1, 0)
    spacing = [float(step) for step in ras.header.get_zooms()[::-1]]
    return {"dims": voxels.shape, "want": voxels.ravel().tolist(), "spacing": spacing}


def case(name, made, file, packed=False):
    """A file of the image with the file beside it, if there is one."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        truth = reading_order(made, folder)
        sitk.WriteImage(made, str(folder / file), useCompression=packed)
        beside = [path for path in folder.iterdir() if path.name not in (file, "truth.nii")]
        content = (folder / file).read_bytes()
        end = content.find(b"\n\n") + 2 if b"NRRD" in content[:4] else content.find(b"LOCAL\n") + 6
        end = len(content) if beside else end
        voxels = beside[0].read_bytes() if beside else content[end:]
        return {
            "name": name,
            "file": file,
            "header": content[:end].decode(),
            "beside": beside[0].name if beside else None,
            "voxels": voxels.hex(),
            **truth,
        }


def directions():
    """The 48 ways along the axes of the body, and an oblique one."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([1, -1], repeat=3):
            yield np.eye(3)[list(order)] * np.array(signs)
    c, s = np.cos(0.3), np.sin(0.3)
    yield np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def main():
    cases = []
    for number, direction in enumerate(directions()):
        for file in ["scan.nrrd", "scan.mha"]:
            cases.append(case(f"direction {number}", image("UInt8", direction), file))
    for pixel in TYPES:
        for file in ["scan.nrrd", "scan.mha"]:
            cases.append(case(pixel, image(pixel), file))
    for file in ["scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"]:
        for packed in [False, True]:
            cases.append(case(f"packed {packed}", image(), file, packed))
    OUT.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
