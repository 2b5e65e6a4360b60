// tgis_scores: scores = softmax over slices of keys[j] * guide / temperature (paper, Eq. 6), in two launches.
//
// Tensors   keys [slices, dim], scores [slices], f32; guide [dim], bf16; logits [slices], f64, between the launches.
// Numerics  f64 throughout, in an order fixed by kThreads; one rounding to f32, at the end. Where a logit is not
//           finite, every score is NaN.
// Launch    tgis_logits_kernel, one block per slice; tgis_softmax_kernel, one block; any slices and dim.
// Traffic   4 bytes per element of keys: 0.4 MB at 32 x 3072, so both launches cost little more than their latency. A
//           single block would take 6 us for its 2 * 10^5 conversions to f64 alone.
// Source    the definition.
#include "bf16.cuh"
#include "reduce.cuh"

constexpr int kThreads = 256;

struct TgisScoresParams {
    const float* keys;
    const bf16* guide;
    double* logits;
    float* scores;
    double temperature;
    uint32_t slices, dim;
};
static_assert(sizeof(TgisScoresParams) == 48 && offsetof(TgisScoresParams, dim) == 44);

KERNEL(tgis_logits_kernel, TgisScoresParams, kThreads) {
    const float* key = p.keys + static_cast<size_t>(blockIdx.x) * p.dim;
    double dot = 0.0;
    for (uint32_t i = threadIdx.x; i < p.dim; i += kThreads) {
        dot += static_cast<double>(key[i]) * static_cast<double>(to_float(p.guide[i]));
    }
    dot = block_sum<kThreads>(dot);
    if (threadIdx.x == 0) p.logits[blockIdx.x] = dot / p.temperature;
}

KERNEL(tgis_softmax_kernel, TgisScoresParams, kThreads) {
    double most = -INFINITY, sum = 0.0;
    // Every thread finds the highest logit on its own: there are few.
    for (uint32_t i = 0; i < p.slices; i++) most = fmax(most, p.logits[i]);
    // A logit less itself is 0, or NaN where it is not finite: then so is the sum, whatever the highest logit is.
    for (uint32_t i = threadIdx.x; i < p.slices; i += kThreads)
        sum += exp(p.logits[i] - most) + (p.logits[i] - p.logits[i]);
    sum = block_sum<kThreads>(sum);
    for (uint32_t i = threadIdx.x; i < p.slices; i += kThreads) {
        p.scores[i] = static_cast<float>(exp(p.logits[i] - most) / sum);
    }
}
