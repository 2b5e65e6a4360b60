//! A device that times every op of another one, with the bytes and operations of its contract.
use crate::ops::*;
use crate::{DType, Device, HostTensor, Mem, Plan, Result, Tensor, View, Work};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One call of an op.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// The op's name.
    pub op: &'static str,
    /// How long it took on the device, alone.
    pub time: Duration,
    /// The least that it had to do.
    pub work: Work,
}

/// Wraps a device. Every op is waited for, and no graph is recorded, so that each is timed alone: the sum is what
/// the ops take, without what launching them one after the other costs or saves.
pub struct Profile {
    device: Arc<dyn Device>,
    calls: Mutex<Vec<Call>>,
}

impl Profile {
    /// Times the ops of `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { device, calls: Mutex::default() }
    }

    /// The calls since this was asked last, in order.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn timed(&self, op: &'static str, work: Work, run: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let time = self.device.time(run)?;
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { op, time, work });
        Ok(())
    }
}

macro_rules! profiled {
    ($($method:ident: $kind:ident),* $(,)?) => {
        $(fn $method(&self, op: $kind<'_>) -> Result<()> {
            let work = op.work();
            let mut op = Some(op);
            self.timed(stringify!($method), work, &mut || op.take().map_or(Ok(()), |op| self.device.$method(op)))
        })*
    };
}

impl Device for Profile {
    fn describe(&self) -> String {
        format!("{}, every op timed", self.device.describe())
    }
    fn activation(&self) -> DType {
        self.device.activation()
    }
    fn free_bytes(&self) -> Option<usize> {
        self.device.free_bytes()
    }
    fn plan(&self) -> Option<Plan> {
        self.device.plan()
    }
    fn reserve(&self, bytes: usize) -> Result<()> {
        self.device.reserve(bytes)
    }
    fn alloc(&self, bytes: usize) -> Result<Mem> {
        self.device.alloc(bytes)
    }
    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        self.device.weight(tensor)
    }
    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()> {
        self.device.copy_in(dst, src)
    }
    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()> {
        self.device.copy_out(src, dst)
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        let work = op.work(&self.device.read_u32(op.positions)?);
        let mut op = Some(op);
        self.timed("attention_paged", work, &mut || op.take().map_or(Ok(()), |op| self.device.attention_paged(op)))
    }
    profiled! {
        copy: Copy, preprocess_volume: PreprocessVolume, patch_embed_3d: PatchEmbed3d, patch_embed_2d: PatchEmbed2d,
        embed_tokens: EmbedTokens, embed_bert: EmbedBert, layer_norm: LayerNorm, rms_norm: RmsNorm, linear: Linear,
        attention_full: AttentionFull, avg_pool: AvgPool, slice_keys: SliceKeys, tgis_scores: TgisScores,
        slice_combine: SliceCombine, slice_max: SliceMax, qkv_rope_append: QkvRopeAppend, rms_linear: RmsLinear,
        rms_qkv_rope_append: RmsQkvRopeAppend, rms_linear_argmax: RmsLinearArgmax, advance: Advance, sample: Sample,
        log_probs: LogProbs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CPU, numbers, poisoned, tensor, tensor_u32};

    /// Worked by hand: four bytes an element on the CPU.
    #[test]
    fn calls_have_their_names_and_work() {
        let profile = Profile::new(Arc::new(CPU));
        let x = tensor(&[3, 8], &[1.0; 24]);
        let weight = tensor(&[5, 8], &[1.0; 40]);
        let bias = tensor(&[5], &[0.0; 5]);
        let mut out = tensor(&[3, 5], &[0.0; 15]);
        for (bias, epilogue) in [(Some(bias.view()), Epilogue::None), (None, Epilogue::Residual)] {
            let op = Linear { x: x.view(), weight: weight.view(), bias, epilogue, out: out.view_mut() };
            profile.linear(op).expect("valid");
        }
        let norm = tensor(&[8], &[1.0; 8]);
        let mut normed = poisoned(&[3, 8]);
        let op = RmsNorm { x: x.view(), weight: norm.view(), eps: 1e-5, out: normed.view_mut() };
        profile.rms_norm(op).expect("valid");
        let calls: Vec<(&str, Work)> = profile.take().into_iter().map(|call| (call.op, call.work)).collect();
        let of = |elements: usize, flops| Work { bytes: 4 * elements, flops };
        let want = [
            ("linear", of(24 + 40 + 5 + 15, 240)),
            ("linear", of(24 + 40 + 15 + 15, 240)),
            ("rms_norm", of(24 + 8 + 24, 96)),
        ];
        assert_eq!(calls, want);
        assert_eq!(profile.take(), [], "taken");
    }

    /// Rows of one sequence read its tokens once, rows of different sequences each their own.
    #[test]
    fn attention_counts_what_positions_say() {
        let profile = Profile::new(Arc::new(CPU));
        let heads = 2;
        let head_dim = 4;
        let q = tensor(&[2, 8], &numbers(1, 16, 1.0));
        let pages = tensor(&[4, 64, 4], &numbers(2, 1024, 1.0));
        let positions = tensor_u32(&[69, 70]);
        let one = tensor_u32(&[0, 1]);
        let each = tensor_u32(&[0, 1, 0, 1]);
        for block_table in [one.view(), each.view().reshape(&[2, 2])] {
            let mut out = poisoned(&[2, 8]);
            let op = AttentionPaged {
                q: q.view(),
                k_pages: pages.view(),
                v_pages: pages.view(),
                block_table,
                runs: &[1, 1],
                positions: positions.view(),
                heads,
                kv_heads: heads,
                scale: 0.5,
                out: out.view_mut(),
            };
            profile.attention_paged(op).expect("valid");
        }
        let calls = profile.take();
        let rows = 4 * (16 + 16 + 2);
        let cached = |tokens: usize| 2 * tokens * heads * head_dim * 4;
        assert_eq!(calls[0].work, Work { bytes: rows + cached(71), flops: 4 * (70 + 71) * 8 });
        assert_eq!(calls[1].work, Work { bytes: rows + cached(70 + 71), flops: 4 * (70 + 71) * 8 });
    }

    #[test]
    fn a_refused_op_is_no_call() {
        let profile = Profile::new(Arc::new(CPU));
        let x = poisoned(&[2, 8]);
        let weight = poisoned(&[7]);
        let mut out = poisoned(&[2, 8]);
        let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1.0, out: out.view_mut() };
        assert!(profile.rms_norm(op).is_err());
        assert_eq!(profile.take(), []);
    }
}
