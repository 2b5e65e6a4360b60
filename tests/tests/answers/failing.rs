//! A device that fails half-way.
use super::*;
use med2e3::Error;
use med2e3_kernels::ops::*;
use med2e3_kernels::{DType, HostTensor, Mem, Result, Tensor, View};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The CPU, until a number of calls of `attention_paged` are over.
pub struct Failing {
    pub left: AtomicUsize,
    /// Whether it panics then, in place of an error.
    pub panics: bool,
}

fn failure() -> med2e3_kernels::Error {
    med2e3_kernels::Error::Launch { kernel: "attention_paged", detail: "the GPU fell off the bus".into() }
}

impl Failing {
    fn usable(&self) -> Result<()> {
        if self.left.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        assert!(!self.panics, "the device's driver has a bug");
        Err(failure())
    }
}

/// Ops that work as long as the device does.
macro_rules! forward {
    ($($name:ident: $op:ident),* $(,)?) => {
        $(fn $name(&self, op: $op<'_>) -> Result<()> {
            self.usable()?;
            EXACT.$name(op)
        })*
    };
}

impl Device for Failing {
    fn describe(&self) -> String {
        "a device that fails".into()
    }
    fn activation(&self) -> DType {
        EXACT.activation()
    }
    fn alloc(&self, bytes: usize) -> Result<Mem> {
        EXACT.alloc(bytes)
    }
    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        EXACT.weight(tensor)
    }
    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()> {
        self.usable()?;
        EXACT.copy_in(dst, src)
    }
    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()> {
        self.usable()?;
        EXACT.copy_out(src, dst)
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        self.usable()?;
        self.left.fetch_sub(1, Ordering::Relaxed);
        EXACT.attention_paged(op)
    }
    forward! {
        copy: Copy, preprocess_volume: PreprocessVolume, patch_embed_3d: PatchEmbed3d, patch_embed_2d: PatchEmbed2d,
        embed_tokens: EmbedTokens, embed_bert: EmbedBert, layer_norm: LayerNorm, rms_norm: RmsNorm, linear: Linear,
        attention_full: AttentionFull, avg_pool: AvgPool, slice_keys: SliceKeys, tgis_scores: TgisScores,
        slice_combine: SliceCombine, slice_max: SliceMax, qkv_rope_append: QkvRopeAppend, rms_linear: RmsLinear,
        rms_qkv_rope_append: RmsQkvRopeAppend, rms_linear_argmax: RmsLinearArgmax, advance: Advance, sample: Sample,
        log_probs: LogProbs,
    }
}

/// Six questions, two at a time, of a model of two layers, each of two tokens but for the first, which goes on: answers
/// that have ended are kept, and every other question has the device's error, whether it runs or still waits.
#[test]
fn finished_answers_outlive_the_device() {
    let requests = [short(20), short(2), short(2), short(2), short(2), short(2)];
    let alone = exact("b_score15", 1);
    let volume = encode(&alone, "b_score15");
    let want = facts(&ask(&alone, &volume, &requests[1]));
    for lived in [0, 4, 8, 9, 12, 13, 1000] {
        let device = Arc::new(Failing { left: AtomicUsize::new(usize::MAX), panics: false });
        let engine =
            load("b_score15", device.clone(), &LoadOptions { batch: 2, unit_steps: 1000, ..LoadOptions::default() });
        let volume = encode(&engine, "b_score15");
        volume.wait().expect("the device works");
        let questions: Vec<_> = requests.iter().map(|request| (&volume, request)).collect();
        device.left.store(lived, Ordering::Relaxed);
        let results = together(&engine, &questions);
        assert_eq!(results.len(), requests.len());
        // Every prompt runs whole, in two calls, and so does a step. The first prompt and a step of its answer take
        // four; so do the second prompt and the step that ends it, and every later question. What follows the last call
        // fails.
        let answered = results.iter().filter(|result| result.is_ok()).count();
        println!("{lived} calls: {answered} answers");
        assert_eq!(answered, if lived == 1000 { 6 } else { lived.saturating_sub(5) / 4 }, "{lived} calls");
        for (at, result) in results.iter().enumerate() {
            match result {
                Ok(answer) if at > 0 => assert_eq!(facts(answer), want),
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error, Error::Device(med2e3_kernels::Error::Launch { .. })), "{error:?}");
                    assert_eq!(error.to_string(), failure().to_string());
                }
            }
        }
    }
}
