"""What the encoders are taught before they are read: to write the findings into their rows."""
import torch
import torch.nn.functional as F
from torch import nn

import sizes
from data import COUNTS, OF_LESION

BEGINS = {name: sum(list(COUNTS.values())[:i]) for i, name in enumerate(COUNTS)}
LENGTH = 4.0  # of a concept
SHARPNESS = 8.0  # of the softmax over an attribute's coefficients: 1 against 0 is all but certain
WEIGHT_3D = 0.5
NOTHING = 0.1  # weight of patches without a lesion, of which there are thirty times as many


class Writing(nn.Module):
    """The concepts, one vector for each value of each attribute, all at right angles, fixed for a run: the mean row of
    a volume or slice is to be the sum of its values' concepts. Two heads, thrown away, find the lesion in patches.
    """

    def __init__(self, parts, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        columns = torch.randn(sizes.BASE["llm"]["hidden_size"], sum(COUNTS.values()), generator=generator)
        self.register_buffer("concepts", LENGTH * torch.linalg.qr(columns)[0].T)
        self.heads = nn.ModuleList(nn.Linear(parts[part]["hidden_size"], sum(COUNTS.values()))
                                   for part in ("vision2d_model", "vision3d_model"))
        self.patches = (parts["vision2d_model"]["patch_size"], parts["vision3d_model"]["patch_size"])

    def written(self, mean_rows, classes):
        """How far mean rows are from the concepts of `classes`: cross entropy of the coefficients, and distance."""
        coefficients = mean_rows.float() @ self.concepts.T / LENGTH ** 2
        loss, right = 0.0, {}
        for name, target in classes.items():
            own = coefficients[:, BEGINS[name]:BEGINS[name] + COUNTS[name]]
            distance = F.mse_loss(own, F.one_hot(target, COUNTS[name]).float())
            loss = loss + F.cross_entropy(own * SHARPNESS, target) + distance
            right[name] = (own.argmax(1) == target).float()
        return loss, right

    def found(self, head, inner, there, classes):
        """Whether each patch shows the lesion, and which; the share of lesion patches that are named right."""
        logits, loss = head(inner.float()), 0.0
        for name in OF_LESION:
            own = logits[..., BEGINS[name]:BEGINS[name] + COUNTS[name]]
            target = torch.where(there, classes[name][:, None], 0)
            weight = torch.ones(COUNTS[name])
            weight[0] = NOTHING
            loss = loss + F.cross_entropy(own.flatten(0, 1), target.flatten(), weight)
            if name == "lesion":
                right = (own.argmax(-1) == target)[there].float().mean().item()
        return loss, right

    def written_loss(self, phantoms, index, chosen, z_2d, z_3d):
        """The rows' loss and figures: of the slices `chosen` of the volumes `index`, and of the first volumes.
        A slice that the lesion does not touch has none."""
        seen = phantoms.touched[index].gather(1, chosen).flatten()
        of_slice = {name: torch.where(seen, values, 0) if name in OF_LESION else values
                    for name, values in repeated(phantoms, index, chosen).items()}
        loss_2d, right_2d = self.written(z_2d.float().mean(1), of_slice)
        loss_3d, right_3d = self.written(z_3d.float().mean(1), classes_of(phantoms, index[:len(z_3d)]))
        figures = {"loss2": loss_2d.item(), "loss3": loss_3d.item(), "none2": right_2d["lesion"][~seen].mean().item()}
        for name in COUNTS:
            figures[f"{name}2"] = right_2d[name][seen].mean().item()
            figures[f"{name}3"] = right_3d[name].mean().item()
        return loss_2d + WEIGHT_3D * loss_3d, figures

    def found_loss(self, phantoms, index, chosen, inner_2d, inner_3d):
        """The patches' loss and figures, of the same slices and volumes."""
        side, (slab, side_3d, _) = self.patches
        parts = phantoms.lesion_parts(index, side)
        parts = parts.gather(1, chosen[..., None, None].expand(-1, -1, *parts.shape[2:])).flatten(0, 1).flatten(1)
        loss_2d, right_2d = self.found(self.heads[0], inner_2d, parts >= side ** 2 // 8,
                                       repeated(phantoms, index, chosen))
        first = index[:len(inner_3d)]
        parts = phantoms.lesion_parts(first, side_3d).unflatten(1, (-1, slab)).sum(2).flatten(1)
        loss_3d, right_3d = self.found(self.heads[1], inner_3d, parts >= slab * side_3d ** 2 // 24,
                                       classes_of(phantoms, first))
        return loss_2d + WEIGHT_3D * loss_3d, {"found2": right_2d, "found3": right_3d}


def classes_of(phantoms, index):
    """Each attribute's class numbers of volumes."""
    return {name: values[index] for name, values in phantoms.classes.items()}


def repeated(phantoms, index, chosen):
    """The same for each chosen slice of the volumes."""
    return {name: values[:, None].expand_as(chosen).flatten() for name, values in classes_of(phantoms, index).items()}
