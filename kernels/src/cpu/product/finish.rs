//! The end of a product: bias and activation over sums that are still in the cache.
use crate::cpu::lanes::Lanes;
use crate::cpu::math;
use crate::ops::Epilogue;

/// One stretch of a row.
#[derive(Clone, Copy)]
pub(crate) struct Stretch {
    /// The sums; for SwiGLU the gate's.
    pub sums: *const f32,
    /// SwiGLU's value sums.
    pub values: *const f32,
    pub bias: Option<*const f32>,
    /// The output; may be where the sums are.
    pub out: *mut f32,
    pub count: usize,
}

/// `out = epilogue(sums + bias)`; for [`Epilogue::Residual`] `out += sums + bias`.
///
/// # Safety
/// As [`Lanes`]; all addresses hold `count` values.
#[inline(always)]
pub(crate) unsafe fn finish<L: Lanes>(epilogue: Epilogue, stretch: Stretch) {
    let whole = stretch.count / L::WIDTH * L::WIDTH;
    // SAFETY: the caller's promise; the last, short vector goes through arrays.
    unsafe {
        for at in (0..whole).step_by(L::WIDTH) {
            let bias = stretch.bias.map(|bias| bias.add(at));
            let sums = stretch.sums.add(at);
            let out = stretch.out.add(at);
            vector::<L>(
                epilogue,
                Stretch { sums, values: stretch.values.wrapping_add(at), bias, out, count: L::WIDTH },
            );
        }
        let rest = stretch.count - whole;
        if rest > 0 {
            let mut arrays = [[0f32; 16]; 4];
            let [sums, values, bias, out] = &mut arrays;
            std::ptr::copy_nonoverlapping(stretch.sums.add(whole), sums.as_mut_ptr(), rest);
            std::ptr::copy_nonoverlapping(stretch.out.add(whole), out.as_mut_ptr(), rest);
            if epilogue == Epilogue::SwiGlu {
                std::ptr::copy_nonoverlapping(stretch.values.add(whole), values.as_mut_ptr(), rest);
            }
            if let Some(from) = stretch.bias {
                std::ptr::copy_nonoverlapping(from.add(whole), bias.as_mut_ptr(), rest);
            }
            let bias = stretch.bias.map(|_| bias.as_ptr());
            let sums = sums.as_ptr();
            let values = values.as_ptr();
            vector::<L>(epilogue, Stretch { sums, values, bias, out: out.as_mut_ptr(), count: L::WIDTH });
            std::ptr::copy_nonoverlapping(out.as_ptr(), stretch.out.add(whole), rest);
        }
    }
}

/// # Safety
/// As [`finish`], for one vector.
#[inline(always)]
unsafe fn vector<L: Lanes>(epilogue: Epilogue, at: Stretch) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut v = L::load(at.sums);
        if let Some(bias) = at.bias {
            v = L::add(v, L::load(bias));
        }
        let out = match epilogue {
            Epilogue::None => v,
            Epilogue::Residual => L::add(L::load(at.out), v),
            Epilogue::GeluErf => math::gelu_erf::<L>(v),
            Epilogue::GeluTanh => math::gelu_tanh::<L>(v),
            Epilogue::SwiGlu => math::swiglu::<L>(v, L::load(at.values)),
            Epilogue::Tanh => {
                let mut values = [0f32; 16];
                L::store(values.as_mut_ptr(), v);
                L::load(values.map(|v| if v.is_finite() { libm::tanhf(v) } else { f32::NAN }).as_ptr())
            }
        };
        L::store(at.out, out);
    }
}
