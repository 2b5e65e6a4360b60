//! Calls of the ops that only encoders use.
use crate::draw::Draw;
use crate::parts::{Call, Kind, Part, all, these};
use med2e3_kernels::ops::{AttentionFull, AvgPool, PatchEmbed2d, PatchEmbed3d, PreprocessVolume};

pub fn attention_full(draw: &mut Draw) -> Call {
    let sequences = 1 + draw.below(3);
    let tokens = 1 + draw.below(20);
    let heads = 1 + draw.below(3);
    let head_dim = draw.pick(&[4, 7, 16, 40, 130]);
    let dims = [sequences * tokens, heads * head_dim];
    let inputs = (0..3).map(|_| Part::cut(draw, Kind::Acts, &dims)).collect();
    let outputs = vec![Part::new(draw, Kind::Acts, &dims)];
    let sequences = draw.size(sequences);
    let heads = draw.size(heads);
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [q, k, v] = all(inputs);
        let [out] = these(outputs);
        device.attention_full(AttentionFull { q, k, v, sequences, heads, scale: 0.25, out })
    })
}

pub fn avg_pool(draw: &mut Draw) -> Call {
    let pooled = [(); 3].map(|()| 1 + draw.below(2));
    let window = [(); 3].map(|()| 1 + draw.below(3));
    let grids = draw.below(3);
    let dim = 1 + draw.below(20);
    let grid = [0, 1, 2].map(|axis| pooled[axis] * window[axis]);
    let inputs = vec![Part::cut(draw, Kind::Acts, &[grids * grid.iter().product::<usize>(), dim])];
    let outputs = vec![Part::new(draw, Kind::Acts, &[grids * pooled.iter().product::<usize>(), dim])];
    let grid = grid.map(|size| draw.size(size));
    let window = window.map(|size| draw.size(size));
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [x] = all(inputs);
        let [out] = these(outputs);
        device.avg_pool(AvgPool { x, grid, window, out })
    })
}

pub fn patch_embed_3d(draw: &mut Draw) -> Call {
    let grid = [(); 3].map(|()| 1 + draw.below(2));
    let patch = [(); 3].map(|()| 1 + draw.below(3));
    let [patches, voxels] = [grid, patch].map(|sizes| sizes.iter().product::<usize>());
    let hidden = 1 + draw.below(20);
    let inputs = vec![
        Part::new(draw, Kind::Floats, &[0, 1, 2].map(|axis| grid[axis] * patch[axis])),
        Part::new(draw, Kind::Weight, &[hidden, voxels]),
        Part::new(draw, Kind::Weight, &[hidden]),
        Part::cut(draw, Kind::Acts, &[patches, hidden]),
        Part::cut(draw, Kind::Acts, &[1, hidden]),
    ];
    let outputs = vec![Part::new(draw, Kind::Acts, &[1 + patches, hidden])];
    let patch = patch.map(|size| draw.size(size));
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [volume, weight, bias, positions, class_token] = all(inputs);
        let [out] = these(outputs);
        device.patch_embed_3d(PatchEmbed3d { volume, patch, weight, bias, positions, class_token, out })
    })
}

pub fn patch_embed_2d(draw: &mut Draw) -> Call {
    let [slices, down, across, patch] = [(); 4].map(|()| 1 + draw.below(3));
    let patches = down * across;
    let hidden = 1 + draw.below(20);
    let inputs = vec![
        Part::new(draw, Kind::Floats, &[slices, down * patch, across * patch]),
        Part::new(draw, Kind::Weight, &[hidden, patch * patch]),
        Part::new(draw, Kind::Weight, &[hidden]),
        Part::cut(draw, Kind::Acts, &[patches, hidden]),
    ];
    let outputs = vec![Part::new(draw, Kind::Acts, &[slices * patches, hidden])];
    let patch = draw.size(patch);
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [volume, weight, bias, positions] = all(inputs);
        let [out] = these(outputs);
        device.patch_embed_2d(PatchEmbed2d { volume, patch, weight, bias, positions, out })
    })
}

pub fn preprocess_volume(draw: &mut Draw) -> Call {
    let [size, out] = [(); 2].map(|()| [(); 3].map(|()| 1 + draw.below(5)));
    let inputs = vec![Part::new(draw, Kind::Floats, &size)];
    let outputs = vec![Part::new(draw, Kind::Floats, &out)];
    let wrong = draw.pick(&[[1.0, 0.0], [f32::NAN, 1.0], [0.0, f32::INFINITY]]);
    let rising = if draw.errs(4) { wrong } else { [-0.5, 0.25] };
    let scale = draw.pick(&[None, Some(rising)]);
    let first_slice = draw.pick(&[0, 1, 2, usize::MAX]);
    let bound = |draw: &mut Draw, size: usize| {
        let first = draw.below(size);
        let end =
            if draw.errs(4) { draw.pick(&[0, size + 1, usize::MAX]) } else { first + 1 + draw.below(size - first) };
        [first, end]
    };
    let slices = draw.pick(&[1, 5, 9]);
    let crop = [bound(draw, slices), bound(draw, size[1]), bound(draw, size[2])];
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [slab] = all(inputs);
        let [out] = these(outputs);
        device.preprocess_volume(PreprocessVolume { slab, first_slice, scale, crop, out })
    })
}
