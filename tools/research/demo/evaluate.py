"""Figures on validation volumes while training; the shipped table comes from `engine-cli eval`."""
import numpy as np
import torch

TOPICS = ["caption", "plane", "phase", "organ", "abnormality", "location"]


@torch.no_grad()
def evaluate(model, texts, phantoms, count, blind=False, uniform=False, batch=16):
    """Shares of answers that greedy decoding gives whole (each token is the most likely one after the right ones
    before it, which is the same event), of top slices on the lesion, and of the scores' mass there."""
    model.eval()
    hits = {}
    prefix = torch.tensor([texts.prefix])

    def add(name, value):
        hits.setdefault(name, []).append(float(value))

    for begin in range(0, min(count, len(phantoms)), batch):
        index = np.arange(begin, min(begin + batch, count, len(phantoms)))
        rows = [(at, item) for at, volume in enumerate(index) for item in phantoms.items[volume]]
        place = torch.tensor([at for at, _ in rows])
        bert, ids, labels = texts.collate([(item["question"], item["answer"]) for _, item in rows])
        with torch.autocast("cpu", torch.bfloat16):
            z_3d, z_2d_slices, keys = model.encode(phantoms.voxels(index, blind))
            logits = model.score_logits(keys, model.guide(bert), place) * (not uniform)
            scores = logits.softmax(-1)
            z_2d = model.mix(scores, z_2d_slices, place)
            best = model.logits(model.language(prefix, z_3d[place], z_2d, ids)).argmax(-1)
        whole = ((best == labels) | (labels == -100)).all(1)
        for i, (at, item) in enumerate(rows):
            right = whole[i]
            topic = TOPICS[item["question_type"]]
            kind = "closed" if "answer_choice" in item else "open"
            add(topic if topic == "caption" else f"{topic} {kind}", right)
            if topic != "caption":
                add(kind, right)
            touched = phantoms.touched[index[at]]
            if topic in ("organ", "abnormality", "location", "caption") and touched.any():
                add(f"top slice {topic}", touched[logits[i].argmax()])
                add("mass", scores[i][touched].sum())
    model.train()
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(hits.items())}
