//! From a volume as read to tokens: preparation, patches, norms, pooling.
use super::{Call, Entry, bytes};
use crate::inputs::{activations, floats, weights};
use med2e3_kernels::Device;
use med2e3_kernels::ops::*;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry::new("preprocess_volume", "64_512_512", preprocess),
        Entry::new("patch_embed_3d", "released", patches_3d),
        Entry::new("patch_embed_2d", "8_slices", patches_2d),
        Entry::new("layer_norm", "siglip", |device| layer_norm(device, [2048, 1024])),
        Entry::new("layer_norm", "vit", |device| layer_norm(device, [2049, 768])),
        Entry::new("avg_pool", "released", avg_pool),
    ]
}

/// A quarter of a scan of 256 slices, in one slab.
fn preprocess(device: &dyn Device) -> Call<'_> {
    let slab = floats(device, &[64, 512, 512]);
    let mut out = floats(device, &[8, 256, 256]);
    Call {
        flops: 0,
        bytes: slab.bytes() + out.bytes(),
        run: Box::new(move || {
            let scale = Some([-1.0, 1.0]);
            let crop = [[0, 64], [0, 512], [0, 512]];
            device.preprocess_volume(PreprocessVolume {
                slab: slab.view(),
                first_slice: 0,
                scale,
                crop,
                out: out.view_mut(),
            })
        }),
    }
}

fn patches_3d(device: &dyn Device) -> Call<'_> {
    let volume = floats(device, &[32, 256, 256]);
    let hidden = 768;
    let patch = [4, 16, 16];
    let weight = weights(device, &[hidden, 1024]);
    let bias = weights(device, &[hidden]);
    let positions = weights(device, &[2048, hidden]);
    let class = weights(device, &[1, hidden]);
    let mut out = activations(device, &[2049, hidden]);
    Call {
        flops: 2 * 2048 * weight.dims().count(),
        bytes: bytes(&[&volume, &weight, &positions, &out]),
        run: Box::new(move || {
            device.patch_embed_3d(PatchEmbed3d {
                volume: volume.view(),
                patch,
                weight: weight.view(),
                bias: bias.view(),
                positions: positions.view(),
                class_token: class.view(),
                out: out.view_mut(),
            })
        }),
    }
}

/// As many slices as the engine takes at a time.
fn patches_2d(device: &dyn Device) -> Call<'_> {
    let volume = floats(device, &[8, 256, 256]);
    let hidden = 1024;
    let patch = 16;
    let weight = weights(device, &[hidden, 256]);
    let bias = weights(device, &[hidden]);
    let positions = weights(device, &[256, hidden]);
    let mut out = activations(device, &[8 * 256, hidden]);
    Call {
        flops: 2 * 2048 * weight.dims().count(),
        bytes: bytes(&[&volume, &weight, &positions, &out]),
        run: Box::new(move || {
            let volume = volume.view();
            let weight = weight.view();
            let bias = bias.view();
            let positions = positions.view();
            let out = out.view_mut();
            device.patch_embed_2d(PatchEmbed2d { volume, patch, weight, bias, positions, out })
        }),
    }
}

fn layer_norm(device: &dyn Device, [rows, dim]: [usize; 2]) -> Call<'_> {
    let x = activations(device, &[rows, dim]);
    let mut out = activations(device, &[rows, dim]);
    let weight = weights(device, &[dim]);
    let bias = weights(device, &[dim]);
    Call {
        flops: 0,
        bytes: bytes(&[&x, &out]),
        run: Box::new(move || {
            let weight = weight.view();
            let bias = bias.view();
            device.layer_norm(LayerNorm { x: x.view(), weight, bias, eps: 1e-6, out: out.view_mut() })
        }),
    }
}

fn avg_pool(device: &dyn Device) -> Call<'_> {
    let x = activations(device, &[2048, 768]);
    let mut out = activations(device, &[256, 768]);
    let grid = [8, 16, 16];
    let window = [2, 2, 2];
    Call {
        flops: 0,
        bytes: bytes(&[&x, &out]),
        run: Box::new(move || device.avg_pool(AvgPool { x: x.view(), grid, window, out: out.view_mut() })),
    }
}
