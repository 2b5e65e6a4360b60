"""How far plain bf16 PyTorch is from f32 PyTorch on every golden case: the yardstick for devices that compute in bf16.

usage: floor.py     reads and writes tests/data/golden of this repository. README.md describes the file.
"""
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

import bases
from make import assemble, short
from model import Med2E3, load_json


def stage_errors(stages, exact):
    """Per stage: the largest and the root mean square difference, relative to the largest magnitude."""
    def error(name):
        difference, scale = (stages[name].double() - exact[name].double()).abs(), exact[name].double().abs().max()
        return [short((difference.max() / scale).item(), 3), short((difference.pow(2).mean().sqrt() / scale).item(), 3)]
    return {name: error(name) for name in exact}


def case_floor(folder, volume, facts, request):
    """Stage, score and log-probability differences of one case, under the golden's tokens."""
    forced = facts["token_ids"] + ([facts["stop_token_id"]] if facts["finish_reason"] == "stop" else [])
    f32, bf16 = Med2E3(folder), Med2E3(folder, torch.bfloat16)
    exact, _, exact_logits = f32.ask(volume, **request, forced=forced)
    stages, _, logits = bf16.ask(volume, **request, forced=forced)
    best = exact_logits.double().log_softmax(-1).topk(5)
    difference = (logits.double().log_softmax(-1).gather(1, best.indices) - best.values).abs().flatten()
    floor = {"steps": len(forced), "logprob_mean": short(difference.mean().item(), 3),
             "logprob_max": short(difference.max().item(), 3), "stages": stage_errors(stages, exact)}
    if "tgis_scores" in exact:
        scores, wanted = stages["tgis_scores"].double(), exact["tgis_scores"].double()
        floor["score_relative_max"] = short(((scores - wanted).abs() / wanted).max().item(), 3)
    return floor


def main():
    out = Path(__file__).resolve().parents[3] / "tests/data/golden"
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    index, floors = load_json(out / "cases.json"), {}
    for case in index["cases"]:
        model = index["models"][case["model"]]
        request = {key: case[key] for key in ["messages", "question", "tgis", "max_new_tokens"]}
        with tempfile.TemporaryDirectory() as folder:
            assemble(out, model, folder)
            facts = load_json(out / case["meta"])
            floors[case["name"]] = case_floor(folder, np.load(out / model["volume"]), facts, request)
        print(case["name"], {k: v for k, v in floors[case["name"]].items() if k != "stages"}, flush=True)
    bases.write_json(out / "bf16_floor.json", {"made_with": {"torch": torch.__version__}, "cases": floors})


if __name__ == "__main__":
    main()
