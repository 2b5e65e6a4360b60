"""Writes sample.bin again as other pickles of the same tensors: `python make_pickle_samples.py`, without PyTorch.

torch.save(..., pickle_protocol=4) differs from the usual file in data.pkl alone, and Python's own pickler writes that.
So data.pkl of sample.bin, which torch.save wrote, is loaded with stand-ins for the functions and classes that it names,
and pickled again.
"""

import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TORCH = types.ModuleType("torch")
UTILS = types.ModuleType("torch._utils")


class Call:
    """A call that is pickled as it was found."""

    def __init__(self, function, arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


class Outside(tuple):
    """The persistent id of a storage."""


class Reader(pickle.Unpickler):
    """Keeps calls and storages as data."""

    def persistent_load(self, pid):
        return Outside(pid)


class Writer(pickle.Pickler):
    """Writes storages as persistent ids."""

    def persistent_id(self, obj):
        return tuple(obj) if isinstance(obj, Outside) else None


def stand_in(name):
    """A function of torch._utils that only remembers its arguments."""

    def function(*arguments):
        return Call(function, arguments)

    function.__module__ = "torch._utils"
    function.__name__ = function.__qualname__ = name
    setattr(UTILS, name, function)
    return function


def prepare():
    """Puts the stand-ins where the pickler looks for them."""
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        stand_in(name)
    for kind in ("Float", "Half", "BFloat16", "Long"):
        name = kind + "Storage"
        setattr(TORCH, name, type(name, (), {"__module__": "torch"}))
    sys.modules.update({"torch": TORCH, "torch._utils": UTILS})


def before_0_4(value):
    """The call that PyTorch wrote before version 0.4: no flag for gradients, no hooks."""
    if isinstance(value, Call) and value.function is UTILS._rebuild_tensor_v2:
        return Call(UTILS._rebuild_tensor, value.arguments[:4])
    return value


def write(name, entries, value, protocol):
    """A copy of the archive in which data.pkl holds `value`."""
    out = io.BytesIO()
    Writer(out, protocol).dump(value)
    with zipfile.ZipFile(HERE / name, "w", zipfile.ZIP_STORED) as archive:
        for path, content in entries.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, out.getvalue() if path.endswith("/data.pkl") else content)


if __name__ == "__main__":
    prepare()
    with zipfile.ZipFile(HERE / "sample.bin") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    found = next(content for name, content in entries.items() if name.endswith("/data.pkl"))
    state = Reader(io.BytesIO(found)).load()
    for protocol in (3, 4, 5):
        write(f"protocol_{protocol}.bin", entries, state, protocol)
    write("first_torch.bin", entries, {name: before_0_4(value) for name, value in state.items()}, 2)
    write("wrapped.bin", entries, {"module": state, "global_step": 7, "optimizer": {"step": 7}}, 2)
    write("two_models.bin", entries, {"model": state, "ema": dict(state)}, 2)
