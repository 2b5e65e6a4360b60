//! TG-IS: keys, scores, and what is made of the slices by them.
use super::{Call, Entry, bytes};
use crate::inputs::{activations, floats};
use med2e3_kernels::Device;
use med2e3_kernels::ops::*;

const SLICES: usize = 32;
const TOKENS: usize = 256;
const DIM: usize = 3072;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry::new("slice_keys", "both", keys),
        Entry::new("tgis_scores", "released", scores),
        Entry::new("slice_combine", "released", combine),
        Entry::new("slice_max", "released", most),
    ]
}

fn keys(device: &dyn Device) -> Call<'_> {
    let z_3d = activations(device, &[8, 32, DIM]);
    let slices = activations(device, &[SLICES, TOKENS, DIM]);
    let mut keys = floats(device, &[SLICES, DIM]);
    Call {
        flops: 0,
        bytes: bytes(&[&z_3d, &slices, &keys]),
        run: Box::new(move || {
            let z_3d = Some(z_3d.view());
            let z_2d_slices = Some(slices.view());
            device.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume: false, keys: keys.view_mut() })
        }),
    }
}

fn scores(device: &dyn Device) -> Call<'_> {
    let keys = floats(device, &[SLICES, DIM]);
    let guide = activations(device, &[1, DIM]);
    let mut scores = floats(device, &[SLICES]);
    Call {
        flops: 0,
        bytes: bytes(&[&keys, &guide, &scores]),
        run: Box::new(move || {
            let keys = keys.view();
            let guide = guide.view();
            let scores = scores.view_mut();
            device.tgis_scores(TgisScores { keys, guide, temperature: 5.0, scores })
        }),
    }
}

fn combine(device: &dyn Device) -> Call<'_> {
    let slices = activations(device, &[SLICES, TOKENS, DIM]);
    let scores = floats(device, &[SLICES]);
    let mut out = activations(device, &[TOKENS, DIM]);
    Call {
        flops: 0,
        bytes: bytes(&[&slices, &scores, &out]),
        run: Box::new(move || {
            let z_2d_slices = slices.view();
            let scores = scores.view();
            device.slice_combine(SliceCombine { z_2d_slices, scores, out: out.view_mut() })
        }),
    }
}

fn most(device: &dyn Device) -> Call<'_> {
    let slices = activations(device, &[SLICES, TOKENS, DIM]);
    let mut out = activations(device, &[TOKENS, DIM]);
    Call {
        flops: 0,
        bytes: bytes(&[&slices, &out]),
        run: Box::new(move || device.slice_max(SliceMax { z_2d_slices: slices.view(), out: out.view_mut() })),
    }
}
