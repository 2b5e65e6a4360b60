//! Calls of products.
use crate::draw::Draw;
use crate::parts::{Call, Kind, Part, all, these};
use med2e3_kernels::ops::{Epilogue, Linear, RmsLinear, RmsLinearArgmax, rms_linear_argmax::candidates};

const EPILOGUES: [Epilogue; 6] =
    [Epilogue::None, Epilogue::GeluErf, Epilogue::GeluTanh, Epilogue::Tanh, Epilogue::Residual, Epilogue::SwiGlu];

/// Columns of weights for `out` columns of the output.
fn columns(epilogue: Epilogue, out: usize) -> usize {
    if epilogue == Epilogue::SwiGlu { 2 * out } else { out }
}

pub fn linear(draw: &mut Draw) -> Call {
    let rows = draw.below(24);
    let inner = draw.below(50);
    let out = 1 + draw.below(40);
    let epilogue = draw.pick(&EPILOGUES);
    let inputs = vec![
        Part::cut(draw, Kind::Acts, &[rows, inner]),
        Part::new(draw, Kind::Weight, &[columns(epilogue, out), inner]),
        Part::new(draw, Kind::Weight, &[out]),
    ];
    let kind = draw.pick(&[Kind::Acts, Kind::Floats]);
    let outputs = vec![Part::new(draw, kind, &[rows, out])];
    let has_bias = draw.one_in(2) && (epilogue != Epilogue::SwiGlu || draw.errs(2));
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [x, weight, bias] = all(inputs);
        let [out] = these(outputs);
        device.linear(Linear { x, weight, bias: has_bias.then_some(bias), epilogue, out })
    })
}

pub fn rms_linear(draw: &mut Draw) -> Call {
    let rows = draw.below(18);
    let inner = 1 + draw.below(50);
    let out = 1 + draw.below(40);
    let epilogue = if draw.errs(4) { draw.pick(&EPILOGUES) } else { draw.pick(&[Epilogue::None, Epilogue::SwiGlu]) };
    let inputs = vec![
        Part::cut(draw, Kind::Acts, &[rows, inner]),
        Part::new(draw, Kind::Weight, &[inner]),
        Part::new(draw, Kind::Weight, &[columns(epilogue, out), inner]),
    ];
    let kind = draw.pick(&[Kind::Acts, Kind::Floats]);
    let outputs = vec![Part::new(draw, kind, &[rows, out])];
    Call::new(inputs, outputs, move |device, inputs, outputs| {
        let [x, norm, weight] = all(inputs);
        let [out] = these(outputs);
        device.rms_linear(RmsLinear { x, norm, eps: 0.5, weight, epilogue, out })
    })
}

pub fn rms_linear_argmax(draw: &mut Draw) -> Call {
    let rows = draw.below(18);
    let inner = 1 + draw.below(30);
    let vocab = 1 + draw.below(40);
    let inputs = vec![
        Part::cut(draw, Kind::Acts, &[rows, inner]),
        Part::new(draw, Kind::Weight, &[inner]),
        Part::new(draw, Kind::Weight, &[vocab, inner]),
    ];
    let outputs = vec![Part::new(draw, Kind::Ids, &[rows, candidates(vocab)]), Part::new(draw, Kind::Ids, &[rows])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [x, norm, weight] = all(inputs);
        let [scratch, out] = these(outputs);
        device.rms_linear_argmax(RmsLinearArgmax { x, norm, eps: 0.5, weight, scratch, out })
    })
}
