//! Checkpoint tensors by name, on the device.
use crate::{Error, OnProgress, Progress, ProgressStage, Result};
use med2e3_kernels::ops::{Epilogue, LayerNorm, Linear};
use med2e3_kernels::{DType, Device, Dims, HostTensor, Tensor, View, ViewMut};
use med2e3_loaders::{Checkpoint, ModelFolder};

/// Weight and bias of a linear layer or a layer norm.
pub(crate) struct Affine {
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Affine {
    /// The layer norm of the first `rows` rows of `x` into those of `out`.
    pub fn layer_norm<'a>(&'a self, x: &'a Tensor, eps: f32, out: &'a mut Tensor, rows: usize) -> LayerNorm<'a> {
        let x = x.view().rows(0..rows);
        let out = out.view_mut().rows(0..rows);
        LayerNorm { x, weight: self.weight.view(), bias: self.bias.view(), eps, out }
    }

    /// The linear op `epilogue(x · Wᵀ + b)` into `out`.
    pub fn linear<'a>(&'a self, x: View<'a>, epilogue: Epilogue, out: ViewMut<'a>) -> Linear<'a> {
        Linear { x, weight: self.weight.view(), bias: Some(self.bias.view()), epilogue, out }
    }
}

/// Counts bytes over all parts of a model while they are made usable.
pub(crate) struct Loading<'a> {
    pub device: &'a dyn Device,
    pub folder: &'a ModelFolder,
    progress: OnProgress<'a>,
    done: u64,
    total: u64,
}

impl<'a> Loading<'a> {
    pub fn new(device: &'a dyn Device, folder: &'a ModelFolder, progress: OnProgress<'a>) -> Self {
        let parts = [&folder.llm, &folder.vision_3d, &folder.connector_3d];
        let planes = [&folder.vision_2d, &folder.connector_2d].into_iter().flatten();
        let total = parts.into_iter().chain(planes).map(Checkpoint::total_bytes).sum();
        Self { device, folder, progress, done: 0, total }
    }

    /// The tensor as the checkpoint shapes it.
    pub fn tensor(&mut self, part: &Checkpoint, name: &str) -> Result<Tensor> {
        let dims = host(self.folder, part, name)?.shape.clone();
        self.shaped(part, name, &dims)
    }

    /// The tensor under other dims of the same count.
    pub fn shaped(&mut self, part: &Checkpoint, name: &str, dims: &[usize]) -> Result<Tensor> {
        let tensor = host(self.folder, part, name)?;
        let (owner, range) = tensor.owner();
        self.done += range.len() as u64;
        let dtype = match tensor.dtype {
            med2e3_loaders::DType::F32 => DType::F32,
            med2e3_loaders::DType::F16 => DType::F16,
            med2e3_loaders::DType::Bf16 => DType::Bf16,
        };
        let weight = self.device.weight(HostTensor { owner, range, dims: Dims::new(dims), dtype })?;
        let progress = Progress { stage: ProgressStage::Load, done: self.done, total: self.total };
        if (self.progress)(progress).is_break() { Err(Error::Cancelled) } else { Ok(weight) }
    }

    /// `<prefix>.weight` and `<prefix>.bias`.
    pub fn affine(&mut self, part: &Checkpoint, prefix: &str) -> Result<Affine> {
        Ok(Affine {
            weight: self.tensor(part, &format!("{prefix}.weight"))?,
            bias: self.tensor(part, &format!("{prefix}.bias"))?,
        })
    }

    /// A weight made of computed values.
    pub fn computed(&self, dims: &[usize], values: &[f32]) -> Result<Tensor> {
        Ok(self.device.weight(HostTensor::from_f32(dims, values))?)
    }
}

/// The tensor on the host.
pub(crate) fn host<'a>(folder: &ModelFolder, part: &'a Checkpoint, name: &str) -> Result<&'a med2e3_loaders::Tensor> {
    part.get(name).ok_or_else(|| {
        let finding = format!("the checkpoint has no tensor {name}");
        med2e3_loaders::Error::bad_input(&folder.path, finding, "download the model again").into()
    })
}
