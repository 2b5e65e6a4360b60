"""Which checkpoint variants the goldens hold, and which requests are put to each."""


def zoo(suffix):
    """The official name of a 3D connector."""
    return f"spatial_pooling{suffix}_mlp2x_gelu"


# Connector folders: base, part, folder, type, factor on the scoring tensors (chosen so that the largest slice score of
# every variant lies between 0.08 and 0.6; where only the four depth layers are scored it can not pass 0.125).
CONNECTORS = [
    ("a", "vision2d_connector", "mlp", "mlp2x_gelu", 1), ("a", "vision2d_connector", "linear", "linear", 1),
    ("b", "vision2d_connector", "mlp", "mlp2x_gelu", 1), ("c", "vision2d_connector", "mlp", "mlp2x_gelu", 1),
    ("a", "vision3d_connector", "plain", zoo(""), 1), ("a", "vision3d_connector", "text", zoo("_score15"), 2.5),
    ("a", "vision3d_connector", "text_3d", zoo("_score10"), 7),
    ("a", "vision3d_connector", "linear", zoo("_score9"), 2.5),
    ("a", "vision3d_connector", "linear_3d", zoo("_score13"), 30),
    ("b", "vision3d_connector", "plain", zoo(""), 1), ("b", "vision3d_connector", "text", zoo("_score15"), 1),
    ("c", "vision3d_connector", "linear", zoo("_score9"), 1), ("c", "vision3d_connector", "text", zoo("_score15"), 1),
]

MLP = ("mlp", "mlp2x_gelu")  # the 2D connector's folder and type where a variant names no other

# Variants, named after their base: the 3D connector's folder and suffix, then what differs from exp_id 4, `MLP` and the
# base's own configs.
MODELS = {
    "a_score15": {"connector": ("text", "_score15")},
    "a_score6": {"connector": ("plain", "_score6")},
    "a_score9": {"connector": ("linear", "_score9")},
    "a_score10": {"connector": ("text_3d", "_score10")},
    "a_score11": {"connector": ("text", "_score11")},
    "a_score12": {"connector": ("plain", "_score12")},
    "a_score13": {"connector": ("linear_3d", "_score13")},
    "a_score14": {"connector": ("linear", "_score14")},
    "a_spatial": {"connector": ("plain", ""), "exp_id": 0},
    "a_score15_plane": {"connector": ("text", "_score15"), "connector2d": ("mlp", "plane_pooling_mlp2x_gelu")},
    "a_score6_plane": {"connector": ("plain", "_score6"), "connector2d": ("mlp", "plane_pooling_mlp2x_gelu")},
    "a_score15_linear": {"connector": ("text", "_score15"), "connector2d": ("linear", "linear")},
    "a_score15_limit": {"connector": ("text", "_score15"), "llm_max_length": 113},
    "b_score15": {"connector": ("text", "_score15")},
    "b_score6": {"connector": ("plain", "_score6")},
    "b_spatial": {"connector": ("plain", ""), "exp_id": 0},
    "c_score15": {"connector": ("text", "_score15")},
    "c_score9": {"connector": ("linear", "_score9")},
    "c_score15_short": {"connector": ("text", "_score15"), "llm": {"original_max_position_embeddings": 256}},
    "c_score15_eos_list": {"connector": ("text", "_score15"), "llm": {"eos_token_id": [374, 382]}},
}

LESION, DESCRIBE, LIVER = "Is there a lesion?", "Describe these findings.", "Is the liver normal?"
WHERE, NODULES = "Where is the lesion located?", "How many nodules are in the left lung?"


def one(model, prompt, covers, **more):
    """A case with a single question."""
    return {"model": model, "messages": [prompt], "covers": covers, **more}


# Requests. `finish` and `least` (default: length, 24 tokens) are what the reference's answer must be.
CASES = {
    "a_score15_describe": one("a_score15", DESCRIBE, "the released variant, f32, 32 slices"),
    "a_score15_lesion": one("a_score15", LESION, "a second question on the same volume"),
    "a_score15_liver": one("a_score15", LIVER, "a third question on the same volume"),
    "a_score15_guided": one("a_score15", DESCRIBE, "the scores are guided by a question that is not the prompt",
                            question="Where is the mass?"),
    "a_score15_eos": one("a_score15", "?", "a prompt of one token; the eos ends the answer", finish="stop", least=9),
    "a_score15_uniform": one("a_score15", DESCRIBE, "--tgis uniform", tgis="uniform"),
    "a_score15_max": one("a_score15", DESCRIBE, "--tgis max", tgis="max"),
    "a_score15_one_left": one("a_score15_limit", DESCRIBE, "the prompt leaves room for one token", least=1),
    "a_score15_five_left": one("a_score15_limit", LIVER, "llm_max_length ends the answer", least=5),
    "a_score6": one("a_score6", DESCRIBE, "the paper's Eq. 1-9: both, mean of the LLM's embeddings, temperature 1"),
    "a_score9": one("a_score9", DESCRIBE, "both, linear"),
    "a_score10": one("a_score10", WHERE, "3D alone, text_mlp"),
    "a_score11": one("a_score11", WHERE, "2D alone, text_mlp"),
    "a_score12": one("a_score12", DESCRIBE, "all 3D tokens and the slice's, mean of the LLM's embeddings"),
    "a_score13": one("a_score13", WHERE, "3D alone, linear"),
    "a_score14": one("a_score14", DESCRIBE, "2D alone, linear"),
    "a_spatial": one("a_spatial", DESCRIBE, "3D only (exp_id 0)"),
    "a_spatial_short": one("a_spatial", "?", "3D only, a prompt of one token"),
    "a_score15_plane": one("a_score15_plane", DESCRIBE, "2D connector plane_pooling_mlp2x_gelu"),
    "a_score6_plane": one("a_score6_plane", LESION, "plane pooling with the paper's scores"),
    "a_score15_linear": one("a_score15_linear", WHERE, "2D connector linear"),
    "b_score15_describe": one("b_score15", DESCRIBE, "bf16, 16 slices, grouped queries, head_dim 96, longrope, BOS"),
    "b_score15_short": one("b_score15", "?", "a prompt of one token"),
    "b_score15_turns": {"model": "b_score15", "messages": [LESION, "No.", "Is it?"],
                        "covers": "a conversation; the last question guides"},
    "b_score15_inside": one("b_score15", "What organ is in <image3d> and is it large?", "the image inside the prompt",
                            question="What organ is it?"),
    "b_score6": one("b_score6", WHERE, "the paper's scores, bf16"),
    "b_spatial": one("b_spatial", WHERE, "3D only, bf16"),
    "c_score15_describe": one("c_score15", DESCRIBE, "f16, odd sizes, rope type su, long factors"),
    "c_score15_full": one("c_score15", NODULES, "llm_max_length ends the answer", max_new_tokens=200),
    "c_score9": one("c_score9", DESCRIBE, "f16, no text guide"),
    "c_score15_short_factor": one("c_score15_short", LESION, "rope type su, short factors"),
    "c_score15_eos_list": one("c_score15_eos_list", DESCRIBE, "eos_token_id is a list; one of its ids ends the answer",
                              finish="stop", least=6),
}
