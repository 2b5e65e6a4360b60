// sample: each row's next token: the largest logit, a draw from softmax(logits / temperature) cut to top-k and top-p,
//         or the one that the caller gives.
//
// Tensors   logits [rows, vocab], f32; choices [rows, 8], u32: temperature, top-k, top-p, the given id, seed, step; out
//           [rows], u32.
// Numerics  weights are exp2 of f32, good to 2^-22, in whole units of 1 / `one`: their sums are exact, in any order. A
//           draw differs from one in f64 only where it falls within 2^-21 of a boundary between two tokens. Where a
//           logit is NaN or infinite, or the choice is none, out is kNonFinite.
// Launch    a block of kThreads for each row; any vocab > 0. Tokens are never sorted: the token at a given share of the
//           mass is found by histograms of the mass, first over logits, then over the bits of those left, then over
//           ids.
// Traffic   greedy reads the logits once (128 KB at 32064); a draw seven times, top-k and top-p five times more each,
//           from the caches. One block a row, since a second launch would cost as much as it saves.
// Source    Salmon et al. 2011 for the generator; Holtzman et al. 2020 for top-p.
#include "finite.cuh"
#include "order.cuh"
#include "ptx.cuh"
#include "reduce.cuh"

constexpr int kThreads = 512;
constexpr uint32_t kWarps = kThreads / kWarp;
constexpr uint32_t kBins = 2048;
constexpr uint32_t kBinsPerThread = kBins / kThreads;

// The only 64-bit type that atomicAdd takes.
using Mass = unsigned long long;

// `Choice::words` of a row.
struct Choice {
    float temperature;
    uint32_t top_k;
    float top_p;
    // kNonFinite where the token is chosen.
    uint32_t given;
    uint64_t seed, step;
};

struct SampleParams {
    const float* logits;
    const Choice* choices;
    uint32_t* out;
    // The weight of the most likely token, a power of two; `vocab` of them do not overflow.
    uint64_t one;
    uint32_t vocab, rows;
};
static_assert(sizeof(Choice) == 32 && sizeof(SampleParams) == 40 && offsetof(SampleParams, rows) == 36);

// What a block works on.
struct Row {
    const float* logits;
    uint64_t one;
    // log2(e) / temperature as a sum.
    float scale, scale_rest;
    // Logits this far below the highest have no weight.
    float reach;
    float top_p;
    uint32_t vocab, top_k;
    bool greedy;
};

// Above the keys of all finite logits.
constexpr uint32_t kNonFiniteKey = 0xffffffffu;

// The last token that counts, in the order of falling logits and, among equals, rising ids.
struct Cut {
    uint32_t key, id;
};

// What every pass over the logits needs to know.
struct Field {
    float highest;
    // Bins per unit of logit.
    float bins;
    Cut cut;
};

__device__ __forceinline__ bool counts(const Field& field, uint32_t key, uint32_t id) {
    return key > field.cut.key || (key == field.cut.key && id <= field.cut.id);
}

// exp((logit - highest) / temperature) in units of 1 / `one`. The product's rounding error is carried along, since a
// power amplifies it by its size.
__device__ __forceinline__ Mass weight_of(const Row& p, const Field& field, float logit) {
    float gap = logit - field.highest;
    if (gap == 0.0f) return p.one;
    float power = gap * p.scale;
    if (!(power > -64.0f)) return 0;
    float rest = fmaf(gap, p.scale, -power) + gap * p.scale_rest;
    float weight = exp2_fast(power) * fmaf(rest, 0.69314718f, 1.0f);
    return static_cast<Mass>(weight * static_cast<float>(p.one));
}

// Falls with rising logit. A gap that overflows, times 0 bins, is NaN, which fminf passes over.
__device__ __forceinline__ uint32_t bin_of(const Field& field, float logit) {
    return static_cast<uint32_t>(fminf((field.highest - logit) * field.bins, static_cast<float>(kBins - 1)));
}

// What is looked for, in this order.
enum Stage : uint32_t { kTopK, kTopP, kDraw, kStages };

// The wanted token is the first one with which the count (top-k) or mass (top-p, draw) exceeds this.
__device__ __forceinline__ Mass target_of(const Row& p, uint32_t stage, uint32_t random, Mass total) {
    if (stage == kTopK) return p.top_k - 1;
    if (stage == kTopP) {
        // With it the mass is at least the share, so that it exceeds one unit less.
        Mass share = static_cast<Mass>(ceil(static_cast<double>(p.top_p) * static_cast<double>(total)));
        return share == 0 ? 0 : (share < total ? share : total) - 1;
    }
    return (total >> 24) * random + ((total & 0xffffff) * random >> 24);
}

// The bin in which the cumulative mass first exceeds a target, and the mass of the bins before it.
struct Crossing {
    Mass before, target;
    uint32_t bin;
};

// Finds the crossing of target(total), which is below the total.
template <class Target>
__device__ __forceinline__ Crossing cross(const Mass* bins, Target target) {
    SHARED(Mass, totals, kWarps);
    SHARED(Crossing, crossing, 1);
    uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    Mass own = 0;
    for (uint32_t i = 0; i < kBinsPerThread; i++) own += bins[threadIdx.x * kBinsPerThread + i];
    Mass through = own;
#pragma unroll
    for (uint32_t lanes = 1; lanes < kWarp; lanes *= 2) {
        Mass before = __shfl_up_sync(kAllLanes, through, lanes);
        if (lane >= lanes) through += before;
    }
    if (lane == kWarp - 1) totals[warp] = through;
    __syncthreads();  // every warp's total is written
    Mass total = 0, before = through - own;
    for (uint32_t i = 0; i < kWarps; i++) {
        if (i < warp) before += totals[i];
        total += totals[i];
    }
    Mass wanted = target(total);
    if (before <= wanted && wanted < before + own) {
        uint32_t bin = threadIdx.x * kBinsPerThread;
        while (wanted >= before + bins[bin]) before += bins[bin++];
        *crossing = {before, wanted, bin};
    }
    __syncthreads();  // one thread has written the crossing; the next call writes it behind another barrier
    return *crossing;
}

// The id of the token number `index`, by id, among those with this key.
__device__ __forceinline__ uint32_t id_of_tie(const Row& p, const Field& field, uint32_t key, Mass index) {
    SHARED(uint32_t, ties, kWarps);
    SHARED(uint32_t, found, 1);
    uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    uint32_t part = ((p.vocab + kThreads - 1) / kThreads) * kWarp, first = warp * part;
    auto is_tie = [&](uint32_t id) {
        if (id >= p.vocab) return false;
        return order_key(p.logits[id]) == key && counts(field, key, id);
    };
    uint32_t own = 0;
    for (uint32_t i = 0; i < part; i += kWarp) own += is_tie(first + i + lane);
    own = warp_sum(own);
    if (lane == 0) ties[warp] = own;
    __syncthreads();  // every warp's count is written
    Mass before = 0;
    for (uint32_t i = 0; i < warp; i++) before += ties[i];
    if (before <= index && index < before + own) {
        uint32_t left = static_cast<uint32_t>(index - before);
        for (uint32_t i = 0; i < part; i += kWarp) {
            uint32_t here = __ballot_sync(kAllLanes, is_tie(first + i + lane));
            uint32_t rank = __popc(here & ((1u << lane) - 1));
            if (here >> lane & 1 && rank == left) *found = first + i + lane;
            uint32_t count = __popc(here);
            if (left < count) break;
            left -= count;
        }
    }
    __syncthreads();  // the id is written; the next call comes many barriers later
    return *found;
}

// The token that a stage looks for. All tokens together exceed the target, and the tokens of the bin that crosses it
// exceed what is left.
__device__ __forceinline__ Cut descend(const Row& p, const Field& field, uint32_t stage, uint32_t random) {
    SHARED(Mass, bins, kBins);
    auto measure = [&](float logit) { return stage == kTopK ? Mass{1} : weight_of(p, field, logit); };
    Crossing at = {};
    uint32_t first_bin = 0, key = 0;
    // Round 0 bins by logit, evenly over those that have weight; the next ones by 11, 11 and 10 bits of the key.
    for (uint32_t round = 0; round < 4; round++) {
        uint32_t shift = round < 2 ? 21 : round == 2 ? 10 : 0;
        uint32_t mask = round < 2 ? 0 : round == 2 ? 0xffe00000u : 0xfffffc00u, digits = round < 3 ? 2047 : 1023;
        for (uint32_t bin = threadIdx.x; bin < kBins; bin += kThreads) bins[bin] = 0;
        __syncthreads();  // bins are empty
        // Neighbours in one bin are added up first: equal logits would queue at one address.
        uint32_t held = 0;
        Mass sum = 0;
#pragma unroll 4
        for (uint32_t id = threadIdx.x; id < p.vocab; id += kThreads) {
            float logit = p.logits[id];
            uint32_t own = order_key(logit);
            if (!counts(field, own, id)) continue;
            if (round > 0 && (bin_of(field, logit) != first_bin || (own & mask) != key)) continue;
            Mass mass = measure(logit);
            uint32_t bin = round == 0 ? bin_of(field, logit) : digits - (own >> shift & digits);
            if (bin != held) {
                if (sum > 0) atomicAdd(&bins[held], sum);
                held = bin;
                sum = 0;
            }
            sum += mass;
        }
        if (sum > 0) atomicAdd(&bins[held], sum);
        __syncthreads();  // bins are full
        Mass left = at.target - at.before;
        at = cross(bins, [&](Mass total) { return round == 0 ? target_of(p, stage, random, total) : left; });
        if (round == 0) {
            first_bin = at.bin;
        } else {
            key |= (digits - at.bin) << shift;
        }
    }
    Mass index = (at.target - at.before) / measure(value_of(key));
    return {key, id_of_tie(p, field, key, index)};
}

// 24 random bits: the first word of Philox-4x32-10 at counter `step`, key `seed`.
__device__ __forceinline__ uint32_t random_bits(uint64_t seed, uint64_t step) {
    uint32_t words[4] = {static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0};
    uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint32_t left = words[0], right = words[2];
        words[0] = __umulhi(0xCD9E8D57u, right) ^ words[1] ^ key[0];
        words[1] = 0xCD9E8D57u * right;
        words[2] = __umulhi(0xD2511F53u, left) ^ words[3] ^ key[1];
        words[3] = 0xD2511F53u * left;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return words[0] >> 8;
}

// Key and id of the best token in one word, the lowest id among equals. Greedy takes -0 for 0. A logit that is not
// finite beats every other: no finite one has such a key.
__device__ __forceinline__ Mass best_token(const Row& p) {
    Mass best = 0;
#pragma unroll 4
    for (uint32_t id = threadIdx.x; id < p.vocab; id += kThreads) {
        float logit = p.logits[id];
        if (p.greedy && logit == 0.0f) logit = 0.0f;
        Mass word = static_cast<Mass>(order_key(logit)) << 32 | ~id;
        if (!is_finite(logit)) word = Mass{kNonFiniteKey} << 32 | static_cast<uint32_t>(~kNonFinite);
        if (word > best) best = word;
    }
    return block_most<kThreads>(best);
}

// The lowest of all logits.
__device__ __forceinline__ float lowest_logit(const Row& p) {
    Mass least = 0;
#pragma unroll 4
    for (uint32_t id = threadIdx.x; id < p.vocab; id += kThreads) {
        uint32_t word = ~order_key(p.logits[id]);
        if (word > least) least = word;
    }
    return value_of(~static_cast<uint32_t>(block_most<kThreads>(least)));
}

__device__ __forceinline__ bool is_choice(const Choice& choice) {
    return choice.temperature >= 0.0f && is_finite(choice.temperature) && choice.top_p > 0.0f && choice.top_p <= 1.0f;
}

__device__ __forceinline__ Row row_of(const SampleParams& p, const Choice& choice) {
    Row row = {p.logits + static_cast<size_t>(blockIdx.x) * p.vocab, p.one, 0.0f, 0.0f, 0.0f, choice.top_p, p.vocab,
               choice.top_k, choice.temperature == 0.0f || choice.given != kNonFinite};
    if (row.greedy) return row;
    const double scale = 1.4426950408889634 / static_cast<double>(choice.temperature);
    row.scale = static_cast<float>(scale);
    row.scale_rest = static_cast<float>(scale - static_cast<double>(row.scale));
    // 64 / log2(e).
    row.reach = static_cast<float>(44.361419555836498 * static_cast<double>(choice.temperature));
    return row;
}

// Three blocks are what 40 registers allow; left to itself, the assembler spills on sm_90a to make room for a fourth.
KERNEL_RESIDENT(sample_kernel, SampleParams, kThreads, 3) {
    const Choice choice = p.choices[blockIdx.x];
    const Row row = row_of(p, choice);
    Mass best = best_token(row);
    Cut chosen = {static_cast<uint32_t>(best >> 32), ~static_cast<uint32_t>(best)};
    float highest = value_of(chosen.key);
    if (!is_choice(choice)) {
        chosen.id = kNonFinite;
    } else if (choice.given != kNonFinite && chosen.id != kNonFinite) {
        chosen.id = choice.given;
    } else if (!row.greedy && chosen.id != kNonFinite) {
        float span = fminf(highest - lowest_logit(row), row.reach);
        Field field = {highest, span > 1e-30f && span < 1e30f ? (kBins - 1) / span : 0.0f, {0, ~0u}};
        uint32_t random = random_bits(choice.seed, choice.step);
        for (uint32_t stage = kTopK; stage < kStages; stage++) {
            if (stage == kTopK && (row.top_k == 0 || row.top_k >= row.vocab)) continue;
            if (stage == kTopP && row.top_p >= 1.0f) continue;
            field.cut = descend(row, field, stage, random);
        }
        chosen = field.cut;
    }
    if (threadIdx.x == 0) p.out[blockIdx.x] = chosen.id;
}
