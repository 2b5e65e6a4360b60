// log_probs: log softmax(logits) of the tokens that a row names, then of its most likely ones, whose ids go to top.
//
// Tensors   logits [rows, vocab], out [rows, count + ranks], f32; ids [rows, count], top [rows, ranks], u32.
// Numerics  the sum of exponentials and its logarithm in f64, each value rounded once, to f32. A row with a logit that
//           is not finite gets NaN and kNonFinite, and so do the ranks that a small vocabulary lacks; an id outside the
//           vocabulary gets NaN.
// Launch    a block of kThreads for each row; any vocab > 0. Every thread keeps the best of its own tokens that has no
//           rank yet; a round takes the best of all threads, and the one that had it looks for its next one.
// Traffic   the logits once for the maximum, once for the sum (128 KB at 32064, the second time from cache); a rank
//           reads one thread's 63 of them again, from cache.
// Source    the definition; a selection by rounds of maxima.
#include "finite.cuh"
#include "order.cuh"
#include "reduce.cuh"

constexpr int kThreads = 512;

struct LogProbsParams {
    const float* logits;
    const uint32_t* ids;
    uint32_t* top;
    float* out;
    uint32_t vocab, count, ranks, rows;
};
static_assert(sizeof(LogProbsParams) == 48 && offsetof(LogProbsParams, rows) == 44);

// Key and id of a token in one word: the larger one is the more likely, of equal ones the one with the lower id. 0 is
// no token: the key of a finite logit is not 0.
using Token = unsigned long long;

__device__ __forceinline__ Token token_of(float logit, uint32_t id) {
    return static_cast<Token>(order_key(logit)) << 32 | static_cast<uint32_t>(~id);
}

// Beats every token: a logit is not finite. No finite one has such a key.
constexpr Token kOdd = ~Token{0};

// The best token of a thread among those below `limit`.
__device__ __forceinline__ Token best_below(const float* logits, uint32_t vocab, Token limit) {
    Token best = 0;
#pragma unroll 4
    for (uint32_t id = threadIdx.x; id < vocab; id += kThreads) {
        const Token token = is_finite(logits[id]) ? token_of(logits[id], id) : kOdd;
        if (token < limit || limit == kOdd) best = token > best ? token : best;
    }
    return best;
}

KERNEL(log_probs_kernel, LogProbsParams, kThreads) {
    const uint32_t row = blockIdx.x;
    const float* logits = p.logits + static_cast<size_t>(row) * p.vocab;
    const uint32_t* ids = p.ids + static_cast<size_t>(row) * p.count;
    uint32_t* top = p.top + static_cast<size_t>(row) * p.ranks;
    float* out = p.out + static_cast<size_t>(row) * (p.count + p.ranks);
    Token own = best_below(logits, p.vocab, kOdd);
    Token best = block_most<kThreads>(own);
    if (best == kOdd) {
        for (uint32_t i = threadIdx.x; i < p.count + p.ranks; i += kThreads) out[i] = NAN;
        for (uint32_t i = threadIdx.x; i < p.ranks; i += kThreads) top[i] = kNonFinite;
        return;
    }
    const double highest = value_of(static_cast<uint32_t>(best >> 32));
    double sum = 0.0;
    for (uint32_t id = threadIdx.x; id < p.vocab; id += kThreads)
        sum += exp(static_cast<double>(logits[id]) - highest);
    const double log_sum = highest + log(block_sum<kThreads>(sum));
    for (uint32_t i = threadIdx.x; i < p.count; i += kThreads)
        out[i] = ids[i] < p.vocab ? static_cast<float>(static_cast<double>(logits[ids[i]]) - log_sum) : NAN;
    for (uint32_t rank = 0; rank < p.ranks; rank++) {
        if (rank > 0) best = block_most<kThreads>(own);
        if (threadIdx.x == 0) {
            const float logit = value_of(static_cast<uint32_t>(best >> 32));
            top[rank] = best == 0 ? kNonFinite : ~static_cast<uint32_t>(best);
            out[p.count + rank] = best == 0 ? NAN : static_cast<float>(static_cast<double>(logit) - log_sum);
        }
        if (own == best && best != 0) own = best_below(logits, p.vocab, best);
    }
}
