"""Phantoms as scanners would send them: pydicom writes the axial scans of `engine-cli phantom` as DICOM series.

    dicom_series.py OUT SCAN.nii.gz...

For each scan S these folders appear in OUT, each a series of CT slices:
  S_hu         its Hounsfield units, signed, with no rescale to speak of
  S_air        what lies outside a round field of view is -1024 HU
  S_padN       the same, but outside stands the PixelPaddingValue N: -2000, -3024, -32768, and 63536 in unsigned pixels
"""
import array
import gzip
import struct
import sys
from pathlib import Path

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

AIR = -1024
PADDINGS = [-2000, -3024, -32768, 63536]
# The field of view's radius in halves of the picture: it holds the whole body, so only air is lost.
RADIUS = 1.06
# What the demo's model takes for 0.
DARK = -200


def read(path):
    """Shape (slices, rows, columns), spacing (columns, rows, slices) and voxels of a phantom's NIfTI file."""
    data = gzip.decompress(path.read_bytes())
    columns, rows, slices = struct.unpack_from("<3h", data, 42)
    voxels = array.array("h", data[352:])
    assert len(voxels) == slices * rows * columns, path
    return (slices, rows, columns), struct.unpack_from("<3f", data, 80), voxels


def outside(rows, columns):
    """For each pixel of a slice, whether it lies outside the field of view."""
    def place(index, count):
        return (2 * index + 1) / count - 1

    return [place(row, rows) ** 2 + place(column, columns) ** 2 > RADIUS ** 2
            for row in range(rows) for column in range(columns)]


def write(folder, shape, spacing, pixels, signed, intercept, padding):
    """A series whose slice `i` holds `pixels[i]`, stored values as an array of 16 bits."""
    folder.mkdir()
    slices, rows, columns = shape
    series = "1.2.826.0.1.3680043.8.498." + str(int.from_bytes(folder.name.encode()[-12:], "big"))
    for index in range(slices):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"{series}.{index + 1}"
        scan = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        scan.SOPClassUID = CTImageStorage
        scan.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        scan.SeriesInstanceUID = series
        scan.Modality = "CT"
        scan.SeriesNumber = 1
        scan.InstanceNumber = index + 1
        # Slices run from the head down.
        scan.ImagePositionPatient = [0, 0, round(-index * spacing[2], 6)]
        scan.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        scan.PixelSpacing = [round(spacing[1], 6), round(spacing[0], 6)]
        scan.SamplesPerPixel = 1
        scan.PhotometricInterpretation = "MONOCHROME2"
        scan.Rows, scan.Columns = rows, columns
        scan.BitsAllocated = scan.BitsStored = 16
        scan.HighBit = 15
        scan.PixelRepresentation = int(signed)
        scan.RescaleSlope, scan.RescaleIntercept = 1, intercept
        if padding is not None:
            scan.PixelPaddingValue = padding
        scan.PixelData = pixels[index].tobytes()
        scan.save_as(folder / f"{index:03}.dcm", enforce_file_format=True)


def main(out, scans):
    for path in scans:
        shape, spacing, voxels = read(path)
        slices, rows, columns = shape
        plane = rows * columns
        planes = [voxels[index * plane:(index + 1) * plane] for index in range(slices)]
        gone = outside(rows, columns)
        assert any(gone) and all(hu <= DARK for hus in planes for hu, is_gone in zip(hus, gone) if is_gone), path
        name = path.name.removesuffix(".nii.gz")
        write(out / f"{name}_hu", shape, spacing, planes, True, 0, None)
        for padding in [None, *PADDINGS]:
            signed = padding is None or padding < 0
            fill = 0 if padding is None else padding
            stored = [array.array("h" if signed else "H", [fill if is_gone else max(hu, AIR) - AIR
                                                           for hu, is_gone in zip(hus, gone)]) for hus in planes]
            variant = "air" if padding is None else f"pad{padding}"
            write(out / f"{name}_{variant}", shape, spacing, stored, signed, AIR, padding)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(scan) for scan in sys.argv[2:]])
