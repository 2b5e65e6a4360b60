//! A call in parts that every device can make: tensors with their values, windows into them, and the call itself.
use crate::draw::Draw;
use half::bf16;
use med2e3_kernels::{DType, Device, Error, HostTensor, Result, Tensor, View, ViewMut};
use std::sync::Arc;

/// What a tensor holds.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// The device's activations.
    Acts,
    /// A weight that a checkpoint has in bf16.
    Weight,
    /// f32 on every device.
    Floats,
    /// u32 on every device.
    Ids,
}

/// One tensor, and the window of it that the op gets.
pub struct Part {
    kind: Kind,
    dims: Vec<usize>,
    /// Columns that the tensor has before and after the window's.
    margins: [usize; 2],
    values: Values,
}

/// How a tensor is filled.
enum Values {
    /// As drawn; repeated where the tensor is longer.
    Given(Vec<u32>),
    /// Numbers of this seed.
    Drawn(u64),
}

/// Calls the op with views of the parts, inputs and outputs in their order.
type Run = Box<dyn Fn(&dyn Device, &[View<'_>], Vec<ViewMut<'_>>) -> Result<()>>;

/// A call of an op.
pub struct Call {
    inputs: Vec<Part>,
    outputs: Vec<Part>,
    run: Run,
}

/// What a device made of a call.
pub enum Outcome {
    /// Every output's values.
    Given(Vec<Vec<f32>>),
    /// The error, and whether all outputs are as they were before.
    Refused(Error, bool),
}

impl Part {
    /// A tensor of these dims, with mistakes if `draw` makes some.
    pub fn new(draw: &mut Draw, kind: Kind, dims: &[usize]) -> Self {
        let mut dims: Vec<usize> = dims.iter().map(|&size| draw.size(size)).collect();
        if draw.errs(30) {
            dims.push(draw.below(3));
        }
        if draw.errs(30) {
            dims.pop();
        }
        let kind = if draw.errs(20) { draw.pick(&[Kind::Acts, Kind::Weight, Kind::Floats, Kind::Ids]) } else { kind };
        let seed = u64::from(draw.word());
        Self { kind, dims, margins: [0; 2], values: Values::Drawn(seed) }
    }

    /// The same, whose columns may be cut out of a wider tensor.
    pub fn cut(draw: &mut Draw, kind: Kind, dims: &[usize]) -> Self {
        let mut part = Self::new(draw, kind, dims);
        if part.dims.len() == 2 && part.kind != Kind::Weight && draw.one_in(6) {
            part.margins = [draw.below(10), draw.pick(&[0, 1, 8])];
        }
        part
    }

    /// Numbers of these values, which repeat where the tensor is longer.
    pub fn ids(draw: &mut Draw, dims: &[usize], values: Vec<u32>) -> Self {
        Self { values: Values::Given(values), ..Self::cut(draw, Kind::Ids, dims) }
    }

    /// Another kind of tensor with the same bits.
    pub fn hold(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// The tensor on a device; margins are filled like the rest.
    fn make(&self, device: &dyn Device) -> Result<Tensor> {
        let mut dims = self.dims.clone();
        if let ([_, width], [before, after]) = (dims.as_mut_slice(), self.margins) {
            *width = width.saturating_add(before + after);
        }
        let dtype = match self.kind {
            Kind::Acts => device.activation(),
            Kind::Weight => DType::Bf16,
            Kind::Floats => DType::F32,
            Kind::Ids => DType::U32,
        };
        let mut tensor = device.tensor(&dims, dtype)?;
        // What a plan has in the place of memory can be larger than any memory.
        if tensor.bytes() > crate::GPU_BYTES {
            return Ok(tensor);
        }
        let bytes = self.bytes(tensor.dims().count(), dtype);
        if self.kind == Kind::Weight {
            let range = 0..bytes.len();
            return device.weight(HostTensor { owner: Arc::new(bytes), range, dims: tensor.dims(), dtype });
        }
        device.copy_in(&mut tensor, &bytes)?;
        Ok(tensor)
    }

    fn bytes(&self, count: usize, dtype: DType) -> Vec<u8> {
        let mut draw = Draw::new(if let Values::Drawn(seed) = self.values { seed } else { 0 });
        let mut words = move |at: usize| match &self.values {
            Values::Given(values) if !values.is_empty() => values[at % values.len()],
            _ if self.kind == Kind::Ids => draw.index(8),
            _ => draw.value().to_bits(),
        };
        // Numbers that were given are the window's, row by row.
        let inner = self.dims.last().copied().unwrap_or(1);
        let [before, after] = self.margins;
        let at = |i: usize| {
            let width = (inner + before + after).max(1);
            i / width * inner + (i % width).saturating_sub(before)
        };
        let words = (0..count).map(|i| words(at(i)));
        match dtype {
            DType::F32 | DType::U32 => words.flat_map(u32::to_le_bytes).collect(),
            _ => words.flat_map(|word| bf16::from_f32(f32::from_bits(word)).to_le_bytes()).collect(),
        }
    }

    fn window<'a>(&self, tensor: &'a Tensor) -> View<'a> {
        let [before, after] = self.margins;
        match tensor.dims().as_slice() {
            [_, width] if before + after > 0 => tensor.view().cols(before..width - after),
            _ => tensor.view(),
        }
    }
}

impl Call {
    pub fn new(
        inputs: Vec<Part>,
        mut outputs: Vec<Part>,
        run: impl Fn(&dyn Device, &[View<'_>], Vec<ViewMut<'_>>) -> Result<()> + 'static,
    ) -> Self {
        // A weight that borrows its bytes cannot be borrowed for writing at all.
        outputs.iter_mut().filter(|part| part.kind == Kind::Weight).for_each(|part| part.kind = Kind::Floats);
        Self { inputs, outputs, run: Box::new(run) }
    }

    pub fn run(&self, device: &dyn Device) -> Outcome {
        match self.tensors(device) {
            Ok((inputs, outputs)) => self.run_on(device, &inputs, outputs),
            Err(error) => Outcome::Refused(error, true),
        }
    }

    fn tensors(&self, device: &dyn Device) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let make = |parts: &[Part]| parts.iter().map(|part| part.make(device)).collect::<Result<Vec<Tensor>>>();
        Ok((make(&self.inputs)?, make(&self.outputs)?))
    }

    fn run_on(&self, device: &dyn Device, inputs: &[Tensor], mut outputs: Vec<Tensor>) -> Outcome {
        let before = read(device, &outputs);
        let views: Vec<View<'_>> = self.inputs.iter().zip(inputs).map(|(part, tensor)| part.window(tensor)).collect();
        let result = (self.run)(device, &views, outputs.iter_mut().map(Tensor::view_mut).collect());
        let after = read(device, &outputs);
        match result {
            Ok(()) => Outcome::Given(after.unwrap_or_default()),
            Err(error) => Outcome::Refused(error, bits(before) == bits(after)),
        }
    }
}

/// The outputs of an op that has this many.
pub fn these<const N: usize>(outputs: Vec<ViewMut<'_>>) -> [ViewMut<'_>; N] {
    outputs.try_into().ok().expect("as many outputs as the call was made with")
}

/// The inputs of an op that has this many.
pub fn all<'a, const N: usize>(inputs: &[View<'a>]) -> [View<'a>; N] {
    inputs.try_into().expect("as many inputs as the call was made with")
}

fn read(device: &dyn Device, tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    tensors.iter().map(|tensor| device.read(tensor.view())).collect()
}

fn bits(values: Result<Vec<Vec<f32>>>) -> Option<Vec<Vec<u32>>> {
    values.ok().map(|all| all.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect())
}

impl Outcome {
    pub fn error(&self) -> Option<&Error> {
        match self {
            Outcome::Given(_) => None,
            Outcome::Refused(error, _) => Some(error),
        }
    }

    /// Whether no output changed.
    pub fn is_untouched(&self) -> bool {
        matches!(self, Outcome::Refused(_, true))
    }

    /// Fails unless both are the same, to the bit.
    pub fn assert_same(&self, other: &Self, op: &str) {
        match (self, other) {
            (Outcome::Given(got), Outcome::Given(want)) => {
                assert_eq!(bits(Ok(got.clone())), bits(Ok(want.clone())), "{op}: checked and plain emulation differ");
            }
            (got, want) => assert_eq!(got.error(), want.error(), "{op}: checked and plain emulation differ"),
        }
    }

    /// Fails if both devices have results that are not about the same. bf16 rounds the inputs of products and every
    /// output: a sum of some dozen terms then errs by a few units in 256.
    pub fn assert_close(&self, other: &Self, op: &str) {
        let (Outcome::Given(got), Outcome::Given(want)) = (self, other) else { return };
        for (part, (got, want)) in got.iter().zip(want).enumerate() {
            assert_eq!(got.len(), want.len(), "{op}: elements of output {part}");
            let most = want.iter().filter(|value| value.is_finite()).fold(0f32, |most, value| most.max(value.abs()));
            for (at, (&got, &want)) in got.iter().zip(want).enumerate() {
                let close = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= most / 16.0;
                assert!(close, "{op}: element {at} of output {part} is {got}, but the CPU has {want}");
            }
        }
    }
}
