"""Makes the golden tests: tiny checkpoints of every variant and what PyTorch computes with them, stage by stage.

usage: make.py [--out DIR]     default: tests/data/golden of this repository. README.md describes the files.
"""
import argparse
import json
import shutil
import tempfile
from pathlib import Path

import monai
import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import bases
import cases
from model import Med2E3

FULL, SUBSET, STRIDE = 512, 320, 1_000_003  # a stage above FULL elements is stored as SUBSET of them
MARGIN = 1e-3  # least gap between the two best logits of a step, relative to the largest logit
STEPS_WITH_LOGPROBS, TOP = 8, 5
MAX_BYTES = 4_000_000


def write_models(out):
    """Bases, connectors and per-variant configs; returns the `models` object of `cases.json`."""
    configs, sizes = {}, {}
    for name in bases.BASES:
        configs[name] = bases.write_base(out, name, sizes)
        np.save(out / name / "volume.npy", bases.volume(name))
    for connector in cases.CONNECTORS:
        bases.write_connector(out, *connector, sizes)
    return {name: write_model(out, name, model, configs[name[0]]) for name, model in cases.MODELS.items()}


def write_model(out, name, model, configs):
    """Writes the configs in which one variant differs from its base; returns its map of files."""
    base_name = name[0]
    base, files = bases.BASES[base_name], {}
    folder3d, suffix = model["connector"]
    folder2d, kind2d = model.get("connector2d", cases.MLP)
    for part in ["llm", "vision2d_model", "vision3d_model"]:
        for file in sorted((out / base_name / part).iterdir()):
            files[f"{part}/{file.name}"] = f"{base_name}/{part}/{file.name}"
    for part, folder in [("vision2d_connector", folder2d), ("vision3d_connector", folder3d)]:
        for file in sorted((out / base_name / part / folder).iterdir()):
            files[f"{part}/{file.name}"] = f"{base_name}/{part}/{folder}/{file.name}"
    for file in ["tokenizer.json", "tokenizer_config.json"]:
        files[file] = f"{base_name}/{file}"
    if "llm" in model:
        configs = {**configs, "llm": {**configs["llm"], **model["llm"]}}
        files["llm/config.json"] = f"models/{name}/llm_config.json"
        bases.write_json(out / files["llm/config.json"], configs["llm"])
    limit = model.get("llm_max_length", base["llm_max_length"])
    files["args/config.json"] = f"models/{name}/args_config.json"
    bases.write_json(out / files["args/config.json"], bases.args_config(
        base, model.get("exp_id", 4), kind2d, cases.zoo(suffix), limit, configs))
    return {"volume": f"{base_name}/volume.npy", "files": dict(sorted(files.items()))}


def assemble(out, model, folder):
    """Puts a variant together as a checkpoint folder of symbolic links."""
    for target, source in model["files"].items():
        path = Path(folder) / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to((out / source).resolve())
    return folder


def stored(tensor):
    """The flat values of a stage that are kept: all, or every element `(k * STRIDE) mod count`."""
    flat = tensor.float().reshape(-1)
    if flat.numel() <= FULL:
        return tensor.float().contiguous()
    assert flat.numel() % STRIDE
    return flat[torch.arange(SUBSET, dtype=torch.int64) * STRIDE % flat.numel()].contiguous()


def short(number, digits=9):
    """A float with few digits, so that the JSON stays small."""
    return float(f"{number:.{digits}g}")


def describe(tensor, exact):
    """Shape and whole-tensor statistics of a stage, and how far f32 itself is from f64."""
    wide = tensor.double()
    scale = exact.abs().max()
    return {"shape": list(tensor.shape), "stored": "full" if tensor.numel() <= FULL else "subset",
            "mean": short(wide.mean().item()), "rms": short(wide.pow(2).mean().sqrt().item()),
            "max_abs": short(wide.abs().max().item()),
            "f32_error": short(((wide - exact).abs().max() / scale).item(), 2)}


def check_case(name, case, stages, text, logits, wide_text):
    """A golden must be a fair demand: no near ties, no flat or one-hot scores, the length that was asked for."""
    best = logits.double().topk(2).values
    margin = ((best[:, 0] - best[:, 1]) / logits.double().abs().amax(1)).min().item()
    assert margin > MARGIN, f"{name}: two logits within {margin:.2e}"
    assert text["token_ids"] == wide_text["token_ids"], f"{name}: f32 and f64 pick other tokens"
    assert text["finish_reason"] == case.get("finish", "length"), f"{name}: {text['finish_reason']}"
    assert len(text["token_ids"]) >= case.get("least", 24), f"{name}: {len(text['token_ids'])} tokens"
    if "tgis_scores" in stages and case.get("tgis") != "uniform":
        top = stages["tgis_scores"].max().item()
        assert 0.08 < top < 0.6, f"{name}: largest slice score {top}"
    return margin


def run_case(out, name, case, model, networks, networks_wide):
    """Runs one request and writes its two files."""
    request = {"messages": case["messages"], "question": case.get("question"),
               "tgis": case.get("tgis", "checkpoint"), "max_new_tokens": case.get("max_new_tokens", 32)}
    volume = np.load(out / model["volume"])
    stages, text, logits = networks.ask(volume, **request)
    wide, wide_text, _ = networks_wide.ask(volume, **request)
    margin = check_case(name, case, stages, text, logits, wide_text)
    logprobs = torch.log_softmax(logits.double(), -1)[:STEPS_WITH_LOGPROBS].topk(TOP)
    save_file({n: stored(t) for n, t in stages.items()}, out / f"cases/{name}.safetensors")
    meta = {"name": name, "covers": case["covers"], "model": case["model"], **request, **text,
            "least_margin": short(margin, 3),
            "top_logprobs": [[[i, round(p, 6)] for i, p in zip(*step)]
                             for step in zip(logprobs.indices.tolist(), logprobs.values.tolist())],
            "stages": {n: describe(t, wide[n]) for n, t in stages.items()}}
    text_json = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in meta.items())
    (out / f"cases/{name}.json").write_text("{\n" + text_json + "\n}\n")
    worst = max(s["f32_error"] for s in meta["stages"].values())
    scores = stages.get("tgis_scores")
    top = "-" if scores is None else round(scores.max().item(), 3)
    print(f"{name:28} rows {text['prompt_rows']:4} new {len(text['token_ids']):3} {text['finish_reason']:6} "
          f"margin {margin:.1e} f32 error {worst:.1e} top score {top} {text['text']!r}")
    return {"name": name, "model": case["model"], "covers": case["covers"], **request,
            "stages": f"cases/{name}.safetensors", "meta": f"cases/{name}.json"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[3] / "tests/data/golden")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(out, ignore_errors=True)
    (out / "cases").mkdir(parents=True)
    models, index = write_models(out), []
    for model_name, model in models.items():
        wanted = {n: c for n, c in cases.CASES.items() if c["model"] == model_name}
        assert wanted, f"no case runs {model_name}"
        with tempfile.TemporaryDirectory() as folder:
            assemble(out, model, folder)
            networks, networks_wide = Med2E3(folder), Med2E3(folder, torch.float64)
        for name, case in wanted.items():
            index.append(run_case(out, name, case, model, networks, networks_wide))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "monai": monai.__version__}
    bases.write_json(out / "cases.json", {
        "format": 1, "made_with": versions,
        "subset": {"above": FULL, "count": SUBSET, "stride": STRIDE},
        "models": models, "cases": index})
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    print(f"{len(index)} cases, {total} bytes")
    assert total <= MAX_BYTES


if __name__ == "__main__":
    main()
