//! A device that fails half-way.
use super::*;
use med2e3::Error;
use med2e3_kernels::ops::*;
use med2e3_kernels::{DType, HostTensor, Mem, Result, Tensor, View};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The CPU, until a number of calls of `attention_paged` are over.
struct Failing {
    left: AtomicUsize,
}

fn failure() -> med2e3_kernels::Error {
    med2e3_kernels::Error::Launch { kernel: "attention_paged", detail: "the GPU fell off the bus".into() }
}

impl Failing {
    fn usable(&self) -> Result<()> {
        if self.left.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err(failure()) }
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
    }
}

/// Six questions, two at a time, of a model of two layers, each of two tokens but for the first, which goes on: answers
/// that have ended are kept, and every other question has the device's error, whether it runs or still waits.
#[test]
fn finished_answers_outlive_the_device() {
    let requests = [short(20), short(2), short(2), short(2), short(2), short(2)];
    let mut alone = exact("b_score15", 1);
    let volume = encode(&mut alone, "b_score15");
    let want = facts(&ask(&mut alone, &volume, &requests[1]));
    for lived in [0, 4, 7, 8, 11, 12, 1000] {
        let device = Arc::new(Failing { left: AtomicUsize::new(usize::MAX) });
        let mut engine = load("b_score15", device.clone(), &LoadOptions { batch: 2, ..LoadOptions::default() });
        let volume = encode(&mut engine, "b_score15");
        let questions: Vec<Question<'_>> =
            requests.iter().map(|request| Question { volume: &volume, request }).collect();
        device.left.store(lived, Ordering::Relaxed);
        let results = engine.ask_many(&questions, &mut |_, token| go(token));
        assert_eq!(results.len(), requests.len());
        // The beginning that all prompts share takes one call, what is left of both prompts four, the first step two. Then
        // a prompt and a step, four calls, end one more. What follows the last call fails.
        let answered = results.iter().filter(|result| result.is_ok()).count();
        println!("{lived} calls: {answered} answers");
        assert_eq!(answered, if lived == 1000 { 6 } else { lived.saturating_sub(4) / 4 }, "{lived} calls");
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
