//! A device that runs every op a second time on the CPU, from the very same inputs, and stops at the first difference.
use crate::ops::*;
use crate::{Cpu, DType, Device, Error, HostTensor, Mem, Plan, Precision, Result, Tensor, View};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

const CPU: Cpu = Cpu { precision: Precision::Exact };

/// Wraps a device; slow, since inputs and outputs of every op travel to the host.
pub struct Shadow {
    device: Arc<dyn Device>,
    /// Tensors that were compared.
    ops: AtomicU64,
    called: Mutex<Vec<&'static str>>,
}

impl Shadow {
    /// Checks `device` op by op.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { device, ops: AtomicU64::new(0), called: Mutex::default() }
    }

    /// Ops that were compared so far.
    pub fn compared(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// The ops that were called so far, in order.
    pub fn called(&self) -> Vec<&'static str> {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, op: &'static str) {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    /// A copy on the CPU: floats as f32, which holds every float type exactly.
    fn twin(&self, view: View<'_>) -> Result<Tensor> {
        let dims = view.dims();
        let cpu: &dyn Device = &CPU;
        if view.dtype() == DType::U32 {
            let mut tensor = cpu.tensor(dims.as_slice(), DType::U32)?;
            cpu.write(&mut tensor, &self.device.read_u32(view)?)?;
            return Ok(tensor);
        }
        let mut tensor = cpu.tensor(dims.as_slice(), DType::F32)?;
        cpu.write(&mut tensor, &self.device.read(view)?)?;
        Ok(tensor)
    }

    /// A copy of an op's input as the op sees it: where activations are bf16, patch embeddings round voxels to that on
    /// the way in, which is in their contract and no difference.
    fn seen(&self, op: &str, input: &str, view: View<'_>) -> Result<Tensor> {
        let mut tensor = self.twin(view)?;
        if op.starts_with("patch_embed") && input == "volume" && self.device.activation() == DType::Bf16 {
            let cpu: &dyn Device = &CPU;
            let voxels = cpu.read(tensor.view())?;
            let rounded: Vec<f32> = voxels.into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect();
            cpu.write(&mut tensor, &rounded)?;
        }
        Ok(tensor)
    }

    /// Compares an output with its twin: `u32` exactly, f32 within 2^-12 of the tensor's largest magnitude (sums of
    /// some thousand terms), bf16 within one unit in the last place of the element and a quarter of one of the largest
    /// (attention rounds its weights, so small elements err by what large ones weigh). Fused ops that begin with a norm
    /// round the normed row to bf16, whatever type they give: each sum errs by about 2^-10 of its terms, and SwiGLU
    /// multiplies two such sums, so they are held to a 64th of the largest.
    fn compare(&self, op: &'static str, tensor: &str, got: View<'_>, want: &Tensor) -> Result<()> {
        self.ops.fetch_add(1, Ordering::Relaxed);
        let cpu: &dyn Device = &CPU;
        if got.dtype() == DType::U32 {
            let got = self.device.read_u32(got)?;
            let want = cpu.read_u32(want.view())?;
            let first = got.iter().zip(&want).position(|(got, want)| got != want);
            return first.map_or(Ok(()), |at| differs(op, tensor, at, got.len(), [got[at].into(), want[at].into()]));
        }
        let (exact, share) = match (got.dtype(), op) {
            (_, "rms_linear" | "rms_qkv_rope_append") => (false, 64.0),
            (dtype, _) => (dtype == DType::F32, 512.0),
        };
        let got = self.device.read(got)?;
        let want = cpu.read(want.view())?;
        let most = want.iter().filter(|v| v.is_finite()).fold(0f32, |most, v| most.max(v.abs()));
        let bound = |want: f32| if exact { most / 4096.0 } else { want.abs() / 128.0 + most / share };
        // An infinity may be NaN on the other side: contracts say that it is not finite, not what it is.
        let both_lost = |got: f32, want: f32| !got.is_finite() && !want.is_finite();
        let agrees = |got: f32, want: f32| got == want || both_lost(got, want) || (got - want).abs() <= bound(want);
        let first = got.iter().zip(&want).position(|(&got, &want)| !agrees(got, want));
        first.map_or(Ok(()), |at| differs(op, tensor, at, got.len(), [got[at].into(), want[at].into()]))
    }
}

fn differs(op: &'static str, tensor: &str, at: usize, count: usize, [got, want]: [f64; 2]) -> Result<()> {
    let detail = format!("element {at} of {count} of {tensor} is {got}, but the CPU has {want} from the same inputs");
    Err(Error::Differs { op, detail })
}

/// Runs an op with one output on the device and on the CPU, and compares.
///
/// `twin!(self, op, Struct { inputs } optional { inputs } plain { values } out output)`: inputs and optional inputs are
/// views, plain values are copied.
macro_rules! twin {
    ($self:ident, $method:ident, $op:expr, $kind:ident {
        $($input:ident),*; $($optional:ident),*; $($plain:ident),*; $output:ident
    }) => {{
        let $kind { $($input,)* $($optional,)* $($plain,)* mut $output } = $op;
        $self.note(stringify!($method));
        let mut want = $self.twin($output.as_view())?;
        $(let $input = ($input, $self.seen(stringify!($method), stringify!($input), $input)?);)*
        $(let $optional = ($optional, $optional.map(|view| $self.twin(view)).transpose()?);)*
        $self.device.$method($kind {
            $($input: $input.0,)* $($optional: $optional.0,)* $($plain,)* $output: $output.reborrow()
        })?;
        CPU.$method($kind {
            $($input: $input.1.view(),)*
            $($optional: $optional.1.as_ref().map(Tensor::view),)*
            $($plain,)*
            $output: want.view_mut()
        })?;
        $self.compare(stringify!($method), stringify!($output), $output.as_view(), &want)
    }};
}

impl Device for Shadow {
    fn describe(&self) -> String {
        format!("{}, every op compared with the CPU", self.device.describe())
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
    fn copy(&self, op: Copy<'_>) -> Result<()> {
        twin!(self, copy, op, Copy { x;;; out })
    }
    fn preprocess_volume(&self, op: PreprocessVolume<'_>) -> Result<()> {
        twin!(self, preprocess_volume, op, PreprocessVolume { slab;; first_slice, scale, crop; out })
    }
    fn patch_embed_3d(&self, op: PatchEmbed3d<'_>) -> Result<()> {
        twin!(self, patch_embed_3d, op, PatchEmbed3d { volume, weight, bias, positions, class_token;; patch; out })
    }
    fn patch_embed_2d(&self, op: PatchEmbed2d<'_>) -> Result<()> {
        twin!(self, patch_embed_2d, op, PatchEmbed2d { volume, weight, bias, positions;; patch; out })
    }
    fn embed_tokens(&self, op: EmbedTokens<'_>) -> Result<()> {
        twin!(self, embed_tokens, op, EmbedTokens { table, ids;;; out })
    }
    fn embed_bert(&self, op: EmbedBert<'_>) -> Result<()> {
        twin!(self, embed_bert, op, EmbedBert { words, positions, types, weight, bias, ids;; eps; out })
    }
    fn layer_norm(&self, op: LayerNorm<'_>) -> Result<()> {
        twin!(self, layer_norm, op, LayerNorm { x, weight, bias;; eps; out })
    }
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        twin!(self, rms_norm, op, RmsNorm { x, weight;; eps; out })
    }
    fn linear(&self, op: Linear<'_>) -> Result<()> {
        twin!(self, linear, op, Linear { x, weight; bias; epilogue; out })
    }
    fn attention_full(&self, op: AttentionFull<'_>) -> Result<()> {
        twin!(self, attention_full, op, AttentionFull { q, k, v;; sequences, heads, scale; out })
    }
    fn avg_pool(&self, op: AvgPool<'_>) -> Result<()> {
        twin!(self, avg_pool, op, AvgPool { x;; grid, window; out })
    }
    fn slice_keys(&self, op: SliceKeys<'_>) -> Result<()> {
        twin!(self, slice_keys, op, SliceKeys { ; z_3d, z_2d_slices; whole_volume; keys })
    }
    fn tgis_scores(&self, op: TgisScores<'_>) -> Result<()> {
        twin!(self, tgis_scores, op, TgisScores { keys, guide;; temperature; scores })
    }
    fn slice_combine(&self, op: SliceCombine<'_>) -> Result<()> {
        twin!(self, slice_combine, op, SliceCombine { z_2d_slices, scores;;; out })
    }
    fn slice_max(&self, op: SliceMax<'_>) -> Result<()> {
        twin!(self, slice_max, op, SliceMax { z_2d_slices;;; out })
    }
    fn qkv_rope_append(&self, op: QkvRopeAppend<'_>) -> Result<()> {
        self.note("qkv_rope_append");
        let QkvRopeAppend { qkv, cos, sin, positions, block_table, heads, kv_heads, .. } = op;
        let mut q = op.q;
        let mut k_pages = op.k_pages;
        let mut v_pages = op.v_pages;
        let mut want = [self.twin(q.as_view())?, self.twin(k_pages.as_view())?, self.twin(v_pages.as_view())?];
        let inputs = [qkv, cos, sin, positions, block_table].map(|view| self.twin(view));
        self.device.qkv_rope_append(QkvRopeAppend {
            qkv,
            cos,
            sin,
            positions,
            block_table,
            heads,
            kv_heads,
            q: q.reborrow(),
            k_pages: k_pages.reborrow(),
            v_pages: v_pages.reborrow(),
        })?;
        let [qkv, cos, sin, positions, block_table] = inputs;
        let qkv = qkv?;
        let cos = cos?;
        let sin = sin?;
        let positions = positions?;
        let block_table = block_table?;
        let [want_q, want_k, want_v] = &mut want;
        CPU.qkv_rope_append(QkvRopeAppend {
            qkv: qkv.view(),
            cos: cos.view(),
            sin: sin.view(),
            positions: positions.view(),
            block_table: block_table.view(),
            heads,
            kv_heads,
            q: want_q.view_mut(),
            k_pages: want_k.view_mut(),
            v_pages: want_v.view_mut(),
        })?;
        self.compare("qkv_rope_append", "q", q.as_view(), &want[0])?;
        self.compare("qkv_rope_append", "k_pages", k_pages.as_view(), &want[1])?;
        self.compare("qkv_rope_append", "v_pages", v_pages.as_view(), &want[2])
    }
    fn rms_qkv_rope_append(&self, op: RmsQkvRopeAppend<'_>) -> Result<()> {
        self.note("rms_qkv_rope_append");
        let RmsQkvRopeAppend { x, norm, eps, weight, cos, sin, positions, block_table, heads, kv_heads, .. } = op;
        let mut q = op.q;
        let mut k_pages = op.k_pages;
        let mut v_pages = op.v_pages;
        let mut want = [self.twin(q.as_view())?, self.twin(k_pages.as_view())?, self.twin(v_pages.as_view())?];
        let inputs = [x, norm, weight, cos, sin, positions, block_table].map(|view| self.twin(view));
        self.device.rms_qkv_rope_append(RmsQkvRopeAppend {
            x,
            norm,
            eps,
            weight,
            cos,
            sin,
            positions,
            block_table,
            heads,
            kv_heads,
            q: q.reborrow(),
            k_pages: k_pages.reborrow(),
            v_pages: v_pages.reborrow(),
        })?;
        let [x, norm, weight, cos, sin, positions, block_table] = inputs;
        let x = x?;
        let norm = norm?;
        let weight = weight?;
        let cos = cos?;
        let sin = sin?;
        let positions = positions?;
        let block_table = block_table?;
        let [want_q, want_k, want_v] = &mut want;
        CPU.rms_qkv_rope_append(RmsQkvRopeAppend {
            x: x.view(),
            norm: norm.view(),
            eps,
            weight: weight.view(),
            cos: cos.view(),
            sin: sin.view(),
            positions: positions.view(),
            block_table: block_table.view(),
            heads,
            kv_heads,
            q: want_q.view_mut(),
            k_pages: want_k.view_mut(),
            v_pages: want_v.view_mut(),
        })?;
        self.compare("rms_qkv_rope_append", "q", q.as_view(), &want[0])?;
        self.compare("rms_qkv_rope_append", "k_pages", k_pages.as_view(), &want[1])?;
        self.compare("rms_qkv_rope_append", "v_pages", v_pages.as_view(), &want[2])
    }
    fn rms_linear(&self, op: RmsLinear<'_>) -> Result<()> {
        twin!(self, rms_linear, op, RmsLinear { x, norm, weight;; eps, epilogue; out })
    }
    /// Logits that differ by less than the bound may change places, so the device's choice is compared by its logit.
    fn rms_linear_argmax(&self, op: RmsLinearArgmax<'_>) -> Result<()> {
        self.note("rms_linear_argmax");
        let RmsLinearArgmax { x, norm, eps, weight, mut scratch, mut out } = op;
        let scratch = scratch.reborrow();
        let chosen = out.reborrow();
        self.device.rms_linear_argmax(RmsLinearArgmax { x, norm, eps, weight, scratch, out: chosen })?;
        let vocab = weight.dims().as_slice()[0];
        let epilogue = Epilogue::None;
        let chosen = self.device.read_u32(out.as_view())?;
        let x = self.twin(x)?;
        let norm = self.twin(norm)?;
        let weight = self.twin(weight)?;
        let cpu: &dyn Device = &CPU;
        let mut logits = cpu.tensor(&[chosen.len(), vocab], DType::F32)?;
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        CPU.rms_linear(RmsLinear { x, norm, eps, weight, epilogue, out: logits.view_mut() })?;
        self.ops.fetch_add(1, Ordering::Relaxed);
        for (row, (logits, id)) in cpu.read(logits.view())?.chunks_exact(vocab).zip(chosen).enumerate() {
            let best = sample::cpu::argmax(logits);
            let most = logits.iter().fold(0f32, |most, v| most.max(v.abs()));
            let logit_of = |id: u32| logits.get(id as usize).copied();
            // A logit that is not finite gives no id, on both devices or on neither.
            let gap = logit_of(best).zip(logit_of(id)).map(|(best, logit)| best - logit);
            if id != best && gap.is_none_or(|gap| gap > most / 512.0) {
                return differs("rms_linear_argmax", "out", row, vocab, [id.into(), best.into()]);
            }
        }
        Ok(())
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        twin!(self, attention_paged, op, AttentionPaged {
            q, k_pages, v_pages, block_table, positions;; runs, heads, kv_heads, scale; out
        })
    }
    fn advance(&self, op: Advance<'_>) -> Result<()> {
        twin!(self, advance, op, Advance { ;;; counters })
    }
    fn sample(&self, op: Sample<'_>) -> Result<()> {
        twin!(self, sample, op, Sample { logits, choices;;; out })
    }
    fn log_probs(&self, op: LogProbs<'_>) -> Result<()> {
        self.note("log_probs");
        let LogProbs { logits, ids, mut top, mut out } = op;
        let logits_twin = self.seen("log_probs", "logits", logits)?;
        let ids_twin = self.twin(ids)?;
        let mut want_top = self.twin(top.as_view())?;
        let mut want = self.twin(out.as_view())?;
        self.device.log_probs(LogProbs { logits, ids, top: top.reborrow(), out: out.reborrow() })?;
        CPU.log_probs(LogProbs {
            logits: logits_twin.view(),
            ids: ids_twin.view(),
            top: want_top.view_mut(),
            out: want.view_mut(),
        })?;
        self.compare("log_probs", "top", top.as_view(), &want_top)?;
        self.compare("log_probs", "out", out.as_view(), &want)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_refused, numbers, tensor, tensor_u32};
    use crate::testing_gpu::Rig;
    use crate::{Emulation, Gpu};

    fn shadow() -> Shadow {
        Shadow::new(Arc::new(Gpu::emulated(Emulation::default())))
    }

    #[test]
    fn a_right_op_passes_and_is_counted() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let x = rig.acts(&[3, 24], &numbers(5, 72, 2.0));
        let weight = rig.weight(&[24], &numbers(6, 24, 2.0));
        let mut out = rig.poisoned(&[3, 24]);
        let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: out.view_mut() };
        shadow.rms_norm(op).expect("agrees");
        assert_eq!(shadow.compared(), 1);
        assert!(rig.read(&out).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn an_op_that_is_refused_is_refused() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let x = rig.poisoned(&[2, 8]);
        let weight = rig.poisoned(&[7]);
        let mut out = rig.poisoned(&[2, 8]);
        let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1.0, out: out.view_mut() };
        assert_refused(shadow.rms_norm(op), "rms_norm: weight.dim is 7, but x.dim is 8");
    }

    /// One element off by a little more than is allowed: in bf16, in f32, in ids, and NaN on one side only.
    #[test]
    fn the_first_element_that_differs_is_named() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let check = |got: &Tensor, want: &Tensor| shadow.compare("op", "out", got.view(), want);
        let want = tensor(&[4], &[1.0, -8.0, 0.0, 2.0]);
        check(&rig.acts(&[4], &[1.0, -8.0, 0.015, 2.03]), &want).expect("within the bound");
        let text = "op: element 2 of 4 of out is 0.016357421875, but the CPU has 0 from the same inputs";
        assert_refused(check(&rig.acts(&[4], &[1.0, -8.0, 0.0164, 9.0]), &want), text);
        let text = "op: element 3 of 4 of out is NaN, but the CPU has 2 from the same inputs";
        assert_refused(check(&rig.acts(&[4], &[1.0, -8.0, 0.0, f32::NAN]), &want), text);
        check(&rig.floats(&[4], &[1.001, -8.0, 0.0, 2.0]), &want).expect("within the bound");
        let text = "op: element 0 of 4 of out is 1.0029296875, but the CPU has 1 from the same inputs";
        assert_refused(check(&rig.floats(&[4], &[1.002_929_7, -8.0, 0.0, 2.0]), &want), text);
        let text = "op: element 1 of 2 of out is 5, but the CPU has 4 from the same inputs";
        assert_refused(check(&rig.ids(&[7, 5]), &tensor_u32(&[7, 4])), text);
    }

    /// Both sides lose the same row; one that chooses a token where the other has none differs.
    #[test]
    fn rows_that_are_not_finite_agree() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let x = rig.acts(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let norm = rig.weight(&[2], &[1.0; 2]);
        // The norm makes the first row's input √2, with which 3e38 overflows; the other row has none there.
        let weight = rig.weight(&[3, 2], &[3e38, 1.0, 0.5, 2.0, 1.0, 3.0]);
        let mut scratch = rig.ids(&[0; 4]);
        let mut out = rig.ids(&[0; 2]);
        let op = RmsLinearArgmax {
            x: x.view(),
            norm: norm.view(),
            eps: 1e-5,
            weight: weight.view(),
            scratch: scratch.view_mut().reshape(&[2, 2]),
            out: out.view_mut(),
        };
        shadow.rms_linear_argmax(op).expect("agrees");
        assert_eq!(rig.device.read_u32(out.view()).expect("readable"), [crate::NON_FINITE, 2]);
        let got = rig.acts(&[3], &[f32::INFINITY, f32::NAN, 1.0]);
        let want = tensor(&[3], &[f32::NAN, -3.0, 1.0]);
        let text = "op: element 1 of 3 of out is NaN, but the CPU has -3 from the same inputs";
        assert_refused(shadow.compare("op", "out", got.view(), &want), text);
    }

    /// With weights that sum to 0 over even voxels, nothing but the voxels' rounding would be left, were it counted.
    #[test]
    fn voxels_that_bf16_does_not_hold_are_no_difference() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let volume = rig.floats(&[2, 16, 16], &numbers(7, 512, 0.003).iter().map(|v| v + 0.9).collect::<Vec<_>>());
        let signs: Vec<f32> = (0..1024).map(|i| if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        let weight = rig.weight(&[4, 256], &signs);
        let bias = rig.weight(&[4], &[0.0; 4]);
        let positions = rig.weight(&[1, 4], &[0.0; 4]);
        let mut out = rig.poisoned(&[2, 4]);
        let op = PatchEmbed2d {
            volume: volume.view(),
            patch: 16,
            weight: weight.view(),
            bias: bias.view(),
            positions: positions.view(),
            out: out.view_mut(),
        };
        shadow.patch_embed_2d(op).expect("the same voxels give the same sums");
    }

    /// A kernel without one of its barriers gives a wrong result, and the op is named before the next one starts.
    #[test]
    fn a_broken_op_is_named() {
        let shadow = shadow();
        let rig = Rig { device: &shadow };
        let x = rig.acts(&[1, 600], &numbers(5, 600, 2.0));
        let weight = rig.weight(&[600], &numbers(6, 600, 2.0));
        let mut out = rig.poisoned(&[1, 600]);
        let barrier = "every warp's sum is written";
        let line = include_str!("../include/reduce.cuh").lines().position(|line| line.contains(barrier));
        let line = line.expect("block_sum waits for the warps") as u32 + 1;
        let mut run = || {
            let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: out.view_mut() };
            shadow.rms_norm(op)
        };
        // SAFETY: the barrier orders parts of a sum, from which rms_norm takes no address.
        let (broken, met) = unsafe { med2e3_simt::without_sync("/reduce.cuh", line, &mut run) };
        let text = broken.expect_err("a sum of parts that are not there").to_string();
        assert!(text.starts_with("rms_norm: element 0 of 600 of out is ") && met > 0, "{text}");
        assert!(text.ends_with(" from the same inputs"), "{text}");
        run().expect("whole again");
    }
}
