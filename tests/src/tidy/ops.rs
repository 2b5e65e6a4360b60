//! The rule that an op is complete: its folder, the index, the device's method.
use super::{File, Tree};
use std::collections::BTreeSet;

const OPS: &str = "kernels/src/ops/";
const INDEX: &str = "kernels/src/ops.rs";
const DEVICE: &str = "kernels/src/device.rs";
/// Ops that move values or do one short sum per value, so that their tests can state the whole definition, and ops that
/// are others in a row (`rms_` something), whose tests compare with these. Any other op has its definition in f64 in
/// `reference.rs`.
const WITHOUT_REFERENCE: &[&str] = &[
    "advance",
    "avg_pool",
    "copy",
    "embed_bert",
    "embed_tokens",
    "log_probs",
    "patch_embed_2d",
    "patch_embed_3d",
    "qkv_rope_append",
    "rms_linear",
    "rms_linear_argmax",
    "rms_qkv_rope_append",
    "sample",
    "slice_combine",
    "slice_keys",
    "slice_max",
];

pub(super) fn folders(tree: &Tree) -> Vec<String> {
    let paths = tree.files.iter().filter_map(|file| file.path.strip_prefix(OPS)?.split_once('/'));
    let names: BTreeSet<&str> = paths.map(|(name, _)| name).collect();
    let text_of = |path: &str| tree.find(path).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let index = text_of(INDEX);
    let device = text_of(DEVICE);
    let mut found = Vec::new();
    for name in &names {
        for part in ["mod.rs", "cpu.rs", "tests.rs", "launch.rs", "gpu_tests.rs", "reference.rs"] {
            let is_needed = part != "reference.rs" || !WITHOUT_REFERENCE.contains(name);
            if is_needed && tree.find(&format!("{OPS}{name}/{part}")).is_none() {
                found.push(format!("{OPS}{name}/ has no {part}"));
            }
        }
        if !index.contains(&format!("pub mod {name};")) {
            found.push(format!("{INDEX} does not list {name}"));
        }
        if !device.contains(&format!("fn {name}(&self, op: ")) {
            found.push(format!("{DEVICE} has no method {name}"));
        }
    }
    found.extend(tree.files.iter().filter(|file| file.path.starts_with(OPS)).flat_map(missing_header));
    let listed = index.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    found.extend(listed.filter(|name| !names.contains(name)).map(|name| format!("{OPS}{name}/ does not exist")));
    found
}

/// What the comment at the top of a kernel must say.
const HEADER: [&str; 5] = ["Tensors", "Numerics", "Launch", "Traffic", "Source"];

fn missing_header(file: &File) -> Vec<String> {
    if !file.path.ends_with(".cu") {
        return Vec::new();
    }
    let text = file.text.as_deref().unwrap_or_default();
    let says = |word: &&str| text.lines().any(|line| line.starts_with(&format!("// {word} ")));
    let missing = HEADER.into_iter().filter(|word| !says(word));
    missing.map(|word| format!("{}: the header does not say `{word}`", file.path)).collect()
}
