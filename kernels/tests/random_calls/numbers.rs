//! Calls of copies, norms and the ops over slices.
use crate::draw::Draw;
use crate::parts::{Call, Kind, Part, all, these};
use med2e3_kernels::ops::{Copy, LayerNorm, RmsNorm, SliceCombine, SliceKeys, SliceMax, TgisScores};

pub fn copy(draw: &mut Draw) -> Call {
    let kind = draw.pick(&[Kind::Acts, Kind::Floats, Kind::Ids]);
    let dims = [draw.below(5), 1 + draw.below(20)];
    let inputs = vec![Part::cut(draw, kind, &dims)];
    let outputs = vec![Part::new(draw, kind, &dims)];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [x] = all(inputs);
        let [out] = these(outputs);
        device.copy(Copy { x, out })
    })
}

pub fn rms_norm(draw: &mut Draw) -> Call {
    let rows = draw.below(4);
    let dim = 1 + draw.below(40);
    let inputs = vec![Part::cut(draw, Kind::Acts, &[rows, dim]), Part::new(draw, Kind::Weight, &[dim])];
    let outputs = vec![Part::new(draw, Kind::Acts, &[rows, dim])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [x, weight] = all(inputs);
        let [out] = these(outputs);
        device.rms_norm(RmsNorm { x, weight, eps: 0.5, out })
    })
}

pub fn layer_norm(draw: &mut Draw) -> Call {
    let rows = draw.below(4);
    let dim = 1 + draw.below(40);
    let inputs = vec![
        Part::cut(draw, Kind::Acts, &[rows, dim]),
        Part::new(draw, Kind::Weight, &[dim]),
        Part::new(draw, Kind::Weight, &[dim]),
    ];
    let outputs = vec![Part::new(draw, Kind::Acts, &[rows, dim])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [x, weight, bias] = all(inputs);
        let [out] = these(outputs);
        device.layer_norm(LayerNorm { x, weight, bias, eps: 0.5, out })
    })
}

pub fn slice_keys(draw: &mut Draw) -> Call {
    let layers = 1 + draw.below(3);
    let per_layer = 1 + draw.below(2);
    let layer_tokens = 1 + draw.below(4);
    let slice_tokens = 1 + draw.below(4);
    let dim = 1 + draw.below(12);
    let slices = layers * per_layer;
    let inputs = vec![
        Part::new(draw, Kind::Acts, &[layers, layer_tokens, dim]),
        Part::new(draw, Kind::Acts, &[slices, slice_tokens, dim]),
    ];
    let outputs = vec![Part::new(draw, Kind::Floats, &[slices, dim])];
    let whole_volume = draw.one_in(3);
    let absent = draw.below(8);
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [z_3d, z_2d_slices] = all(inputs);
        let [keys] = these(outputs);
        let z_3d = (absent != 1).then_some(z_3d);
        let z_2d_slices = (absent > 1).then_some(z_2d_slices);
        device.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume, keys })
    })
}

pub fn tgis_scores(draw: &mut Draw) -> Call {
    let slices = draw.below(6);
    let dim = 1 + draw.below(20);
    let inputs = vec![Part::cut(draw, Kind::Floats, &[slices, dim]), Part::cut(draw, Kind::Acts, &[1, dim])];
    let outputs = vec![Part::new(draw, Kind::Floats, &[slices])];
    let temperature = if draw.errs(6) { draw.pick(&[0.0, -1.0, f32::NAN, f32::INFINITY]) } else { 2.0 };
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [keys, guide] = all(inputs);
        let [scores] = these(outputs);
        device.tgis_scores(TgisScores { keys, guide, temperature, scores })
    })
}

pub fn slice_combine(draw: &mut Draw) -> Call {
    let slices = draw.below(4);
    let tokens = 1 + draw.below(4);
    let dim = 1 + draw.below(12);
    let inputs = vec![Part::new(draw, Kind::Acts, &[slices, tokens, dim]), Part::new(draw, Kind::Floats, &[slices])];
    let outputs = vec![Part::new(draw, Kind::Acts, &[tokens, dim])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [z_2d_slices, scores] = all(inputs);
        let [out] = these(outputs);
        device.slice_combine(SliceCombine { z_2d_slices, scores, out })
    })
}

pub fn slice_max(draw: &mut Draw) -> Call {
    let slices = 1 + draw.below(4);
    let tokens = 1 + draw.below(4);
    let dim = 1 + draw.below(12);
    let inputs = vec![Part::new(draw, Kind::Acts, &[slices, tokens, dim])];
    let outputs = vec![Part::new(draw, Kind::Acts, &[tokens, dim])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [z_2d_slices] = all(inputs);
        let [out] = these(outputs);
        device.slice_max(SliceMax { z_2d_slices, out })
    })
}
