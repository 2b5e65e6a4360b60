"""The same questions answered by PyTorch, in f32 and greedily, and what the engine answers otherwise.

usage: peer.py answer --model DIR --data truth.json --volumes DIR --out peer.json [--limit K]
                      [--max-new-tokens N] [--tgis HOW] [--threads T]
       peer.py compare peer.json results.json

`answer` reads what `engine-cli phantom` wrote: volumes of the model's size within 0 to 1, which preparing them leaves
as they are. `results.json` is what `engine-cli eval --device cpu --precision exact --slice-scores` wrote for the same
model and data. `compare` prints the share of equal answers and the largest difference of slice scores, lists what
differs with the smallest lead of a token in PyTorch's answer, and ends with 1 unless 99.5 % are equal and scores agree
to 1e-4. Needs tools/research/golden/requirements.txt.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import tokens
from model import Med2E3

EQUAL_SHARE, SCORE_DIFFERENCE = 0.995, 1e-4
LISTED = 20


def read_volume(path, model):
    """One volume, which must need no preparation."""
    volume = np.load(path)
    volume = volume[0] if volume.ndim == 4 else volume
    wanted = tuple(model.vision3d_config["img_size"])
    assert volume.shape == wanted, f"{path}: is {volume.shape}, but the model takes {wanted}"
    assert volume.min() >= 0 and volume.max() <= 1, f"{path}: is not within 0 to 1"
    for axis in range(3):
        edges = np.take(volume, [0, -1], axis).max(tuple(other for other in range(3) if other != axis))
        assert (edges > 0).all(), f"{path}: has an empty edge, which the preparation would cut off"
    return torch.from_numpy(volume.astype(np.float32))


def prompt_rows(model, item, encoded, tgis):
    """The prompt's rows and the slice scores of one item; `encoded` is what no question changes."""
    stages = dict(encoded)
    messages = [turn["value"] for turn in item["conversations"]]
    messages = messages[:-1] if len(messages) % 2 == 0 else messages
    question = item.get("question", messages[-1].replace("<image3d>", "").strip())
    model.fuse(stages, model.guide_ids(question, tgis), tgis)
    ids = tokens.prompt_ids(model.tokenizer, messages, model.add_bos)
    at = ids.index(tokens.IMAGE_3D)
    return torch.cat([model.embed(ids[:at]), stages["z_i"], model.embed(ids[at + 1:])]), stages.get("tgis_scores")


def generate(model, prompts, rooms):
    """Greedy answers to prompts of any lengths in one batch, each of at most its room: ids, the last one the eos where
    it ended the answer, and each answer's smallest lead of the best logit. Shorter prompts begin with empty rows, which
    nothing attends to."""
    longest = max(map(len, prompts))
    rows = torch.stack([torch.cat([p.new_zeros(longest - len(p), p.shape[1]), p]) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    position = (mask.cumsum(1) - 1).clamp(min=0)
    found, leads, eos = [[] for _ in prompts], [float("inf")] * len(prompts), model.eos()
    going = lambda index: len(found[index]) < rooms[index] and not (found[index] and found[index][-1] in eos)
    given = {"inputs_embeds": rows}
    while any(map(going, range(len(prompts)))):
        out = model.llm(**given, attention_mask=mask, position_ids=position, use_cache=True, num_logits_to_keep=1)
        best = out.logits[:, -1].topk(2)
        for index in filter(going, range(len(prompts))):
            found[index].append(int(best.indices[index, 0]))
            leads[index] = min(leads[index], float(best.values[index, 0] - best.values[index, 1]))
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
        position = position[:, -1:] + 1
        given = {"input_ids": best.indices[:, :1], "past_key_values": out.past_key_values}
    return found, leads


def answers(model, items, volume, args):
    """The answers to all items about one volume."""
    encoded = model.encode(volume)
    prompts, scores = zip(*(prompt_rows(model, item, encoded, args.tgis) for item in items))
    limit = model.args["llm_max_length"]
    rooms = [min(limit - len(prompt), args.max_new_tokens or limit) for prompt in prompts]
    for item, slices, ids, lead in zip(items, scores, *generate(model, prompts, rooms)):
        kept = ids[:-1] if ids[-1] in model.eos() else ids
        yield {"id": item["id"], "text": model.tokenizer.decode(kept).strip(), "token_ids": kept, "least_lead": lead,
               "slice_scores": None if slices is None else slices.tolist()}


@torch.no_grad()
def answer_all(args):
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    model = Med2E3(args.model)
    items = json.loads(args.data.read_text())[:args.limit]
    by_volume = {}
    for index, item in enumerate(items):
        by_volume.setdefault(item["vision3d"][0], []).append(index)
    done, start = {}, time.monotonic()
    for name, indices in by_volume.items():
        volume = read_volume(args.volumes / name, model)
        done.update(zip(indices, answers(model, [items[index] for index in indices], volume, args)))
        rate = len(done) / (time.monotonic() - start)
        print(f"\r{len(done)} of {len(items)}, {rate:.1f} a second", end="", file=sys.stderr)
    print(file=sys.stderr)
    lines = ",\n".join(json.dumps(done[index]) for index in range(len(items)))
    args.out.write_text(f"[\n{lines}\n]\n")


def compare(args):
    ours = {sample["id"]: sample for sample in json.loads(args.results.read_text())["samples"]}
    theirs = {sample["id"]: sample for sample in json.loads(args.peer.read_text())}
    assert ours.keys() == theirs.keys(), f"{len(ours.keys() ^ theirs.keys())} ids are in one file alone"
    other = [name for name in ours if ours[name]["prediction"] != theirs[name]["text"]]
    difference = 0.0
    for name, sample in ours.items():
        pair = sample.get("slice_scores"), theirs[name]["slice_scores"]
        assert (pair[0] is None) == (pair[1] is None), f"{name}: one file alone has slice scores"
        if pair[0] is not None:
            difference = max(difference, float(np.abs(np.subtract(*pair)).max()))
    equal = 1 - len(other) / len(ours)
    print(f"{len(ours)} answers, {100 * equal:.2f} % equal; slice scores differ by {difference:.2e} at most")
    for name in other[:LISTED]:
        lead = theirs[name]["least_lead"]
        print(f"{name}: `{ours[name]['prediction']}`, PyTorch `{theirs[name]['text']}` (least lead {lead:.2e})")
    return equal >= EQUAL_SHARE and difference <= SCORE_DIFFERENCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("answer")
    for flag in ["--model", "--data", "--volumes", "--out"]:
        run.add_argument(flag, type=Path, required=True)
    run.add_argument("--limit", type=int, help="the first K items alone")
    run.add_argument("--max-new-tokens", type=int, help="as for eval, where it has this")
    run.add_argument("--tgis", choices=["checkpoint", "uniform", "max"], default="checkpoint")
    run.add_argument("--threads", type=int, default=torch.get_num_threads())
    check = commands.add_parser("compare")
    check.add_argument("peer", type=Path)
    check.add_argument("results", type=Path)
    args = parser.parse_args()
    if args.command == "answer":
        answer_all(args)
        return 0
    return 0 if compare(args) else 1


if __name__ == "__main__":
    sys.exit(main())
