//! Calls of the ops that read numbers from tensors: ids, positions, page tables; and of those beside them.
use crate::draw::Draw;
use crate::parts::{Call, Kind, Part, all, these};
use med2e3_kernels::PAGE_TOKENS;
use med2e3_kernels::ops::{
    Advance, AttentionPaged, Choice, EmbedBert, EmbedTokens, LogProbs, QkvRopeAppend, RmsQkvRopeAppend, Sample,
    Sampling,
};

pub fn advance(draw: &mut Draw) -> Call {
    let count = draw.below(40);
    let outputs = vec![Part::new(draw, Kind::Ids, &[count])];
    Call::new(Vec::new(), outputs, |device, _, outputs| {
        let [counters] = these(outputs);
        device.advance(Advance { counters })
    })
}

/// `count` numbers, of which some are not below `limit`.
fn indices(draw: &mut Draw, count: usize, limit: usize) -> Vec<u32> {
    (0..count).map(|_| draw.index(limit)).collect()
}

pub fn embed_tokens(draw: &mut Draw) -> Call {
    let vocab = 1 + draw.below(9);
    let hidden = 1 + draw.below(20);
    let rows = draw.below(5);
    let ids = indices(draw, rows, vocab);
    let inputs = vec![Part::new(draw, Kind::Weight, &[vocab, hidden]), Part::ids(draw, &[rows], ids)];
    let outputs = vec![Part::new(draw, Kind::Acts, &[rows, hidden])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [table, ids] = all(inputs);
        let [out] = these(outputs);
        device.embed_tokens(EmbedTokens { table, ids, out })
    })
}

pub fn embed_bert(draw: &mut Draw) -> Call {
    let vocab = 1 + draw.below(9);
    let hidden = 1 + draw.below(20);
    let rows = draw.below(5);
    let ids = indices(draw, rows, vocab);
    let inputs = vec![
        Part::cut(draw, Kind::Acts, &[vocab, hidden]),
        Part::cut(draw, Kind::Acts, &[rows + 1, hidden]),
        Part::new(draw, Kind::Weight, &[2, hidden]),
        Part::new(draw, Kind::Weight, &[hidden]),
        Part::new(draw, Kind::Weight, &[hidden]),
        Part::ids(draw, &[rows], ids),
    ];
    let outputs = vec![Part::new(draw, Kind::Acts, &[rows, hidden])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [words, positions, types, weight, bias, ids] = all(inputs);
        let [out] = these(outputs);
        device.embed_bert(EmbedBert { words, positions, types, weight, bias, eps: 0.5, ids, out })
    })
}

/// Logits, of which one in three tensors holds an odd one.
fn logits(draw: &mut Draw, rows: usize, vocab: usize) -> Part {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0, 1e-40];
    let mut logits: Vec<u32> = (0..rows * vocab).map(|_| (8.0 * draw.value()).to_bits()).collect();
    if draw.one_in(3) && !logits.is_empty() {
        let at = draw.below(rows * vocab);
        logits[at] = draw.pick(&odd).to_bits();
    }
    let mut part = Part::ids(draw, &[rows, vocab], logits);
    part.hold(Kind::Floats);
    part
}

pub fn log_probs(draw: &mut Draw) -> Call {
    let rows = draw.below(4);
    let vocab = 1 + draw.below(40);
    let count = draw.below(3);
    let ranks = draw.below(6);
    let logits = logits(draw, rows, vocab);
    let ids = indices(draw, rows * count, vocab);
    let inputs = vec![logits, Part::ids(draw, &[rows, count], ids)];
    let outputs =
        vec![Part::new(draw, Kind::Ids, &[rows, ranks]), Part::new(draw, Kind::Floats, &[rows, count + ranks])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [logits, ids] = all(inputs);
        let [top, out] = these(outputs);
        device.log_probs(LogProbs { logits, ids, top, out })
    })
}

/// A row's choice, sound or not.
fn choice(draw: &mut Draw) -> Choice {
    let temperature = draw.pick(&[0.0, 1.0, 0.3, 1e-30, 1e-40, 1e30, -1.0, f32::NAN]);
    let top_p = draw.pick(&[1.0, 0.5, 1e-30, 0.0, 2.0, f32::NAN, 1.0, 0.9]);
    let sampling =
        Sampling { temperature, top_k: draw.pick(&[0, 1, 5, u32::MAX]), top_p, seed: u64::from(draw.word()) };
    Choice { sampling, step: 3, given: draw.pick(&[None, None, Some(2), Some(1 << 30)]) }
}

pub fn sample(draw: &mut Draw) -> Call {
    let rows = draw.below(4);
    let vocab = 1 + draw.below(40);
    let logits = logits(draw, rows, vocab);
    let choices: Vec<u32> = (0..rows).flat_map(|_| choice(draw).words()).collect();
    let inputs = vec![logits, Part::ids(draw, &[rows, Choice::WORDS], choices)];
    let outputs = vec![Part::new(draw, Kind::Ids, &[rows])];
    Call::new(inputs, outputs, |device, inputs, outputs| {
        let [logits, choices] = all(inputs);
        let [out] = these(outputs);
        device.sample(Sample { logits, choices, out })
    })
}

/// A cache, rows that belong in it, and how many rows of cos and sin there are.
struct Cache {
    rows: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pages: usize,
    angles: usize,
    positions: Part,
    table: Part,
}

impl Cache {
    /// Of one sequence, or of one for each row; most numbers are sound, some are not.
    fn new(draw: &mut Draw, rows_max: usize) -> Self {
        let own = draw.one_in(2);
        let rows = draw.below(if own { 6 } else { rows_max });
        let kv_heads = 1 + draw.below(2);
        let group = 1 + draw.below(3);
        let logical = 1 + draw.below(3);
        let head_dim = draw.pick(&[2, 6, 8, 16, 32, 96]);
        let pages = 1 + draw.below(8);
        let limit = logical * PAGE_TOKENS;
        let angles = limit - draw.below(70).min(limit);
        let first = draw.below(limit.saturating_sub(rows).max(1)) as u32;
        let positions = match draw.below(4) {
            0 => indices(draw, rows, limit),
            _ if own => (0..rows).map(|_| draw.below(limit) as u32).collect(),
            _ => (first..).take(rows).collect(),
        };
        let entries = if own { rows * logical } else { logical };
        let table = match draw.below(3) {
            0 => indices(draw, entries, pages),
            // Each page once, as far as they go.
            _ => (0..entries).map(|entry| ((entry * 3 + 1) % pages.max(entries)) as u32).collect(),
        };
        let dims: &[usize] = if own { &[rows, logical] } else { &[logical] };
        let positions = Part::ids(draw, &[rows], positions);
        let table = Part::ids(draw, dims, table);
        Self { rows, heads: kv_heads * group, kv_heads, head_dim, pages, angles, positions, table }
    }

    fn angles(&self, draw: &mut Draw) -> [Part; 2] {
        [(); 2].map(|()| Part::cut(draw, Kind::Floats, &[self.angles, self.head_dim / 2]))
    }

    fn pages(&self, draw: &mut Draw) -> [Part; 2] {
        [(); 2].map(|()| Part::new(draw, Kind::Acts, &[self.pages * self.kv_heads, PAGE_TOKENS, self.head_dim]))
    }

    fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

pub fn qkv_rope_append(draw: &mut Draw) -> Call {
    let cache = Cache::new(draw, 140);
    let qkv = Part::cut(draw, Kind::Acts, &[cache.rows, cache.columns()]);
    let q = Part::new(draw, Kind::Acts, &[cache.rows, cache.heads * cache.head_dim]);
    let [cos, sin] = cache.angles(draw);
    let [k, v] = cache.pages(draw);
    let heads = draw.size(cache.heads);
    let kv_heads = draw.size(cache.kv_heads);
    Call::new(vec![qkv, cos, sin, cache.positions, cache.table], vec![q, k, v], move |device, inputs, outputs| {
        let [qkv, cos, sin, positions, block_table] = all(inputs);
        let [q, k_pages, v_pages] = these(outputs);
        device.qkv_rope_append(QkvRopeAppend {
            qkv,
            cos,
            sin,
            positions,
            block_table,
            heads,
            kv_heads,
            q,
            k_pages,
            v_pages,
        })
    })
}

pub fn rms_qkv_rope_append(draw: &mut Draw) -> Call {
    let cache = Cache::new(draw, 18);
    let inner = 1 + draw.below(30);
    let x = Part::cut(draw, Kind::Acts, &[cache.rows, inner]);
    let norm = Part::new(draw, Kind::Weight, &[inner]);
    let weight = Part::new(draw, Kind::Weight, &[cache.columns(), inner]);
    let q = Part::new(draw, Kind::Acts, &[cache.rows, cache.heads * cache.head_dim]);
    let [cos, sin] = cache.angles(draw);
    let [k, v] = cache.pages(draw);
    let heads = draw.size(cache.heads);
    let kv_heads = draw.size(cache.kv_heads);
    Call::new(
        vec![x, norm, weight, cos, sin, cache.positions, cache.table],
        vec![q, k, v],
        move |device, inputs, outputs| {
            let [x, norm, weight, cos, sin, positions, block_table] = all(inputs);
            let [q, k_pages, v_pages] = these(outputs);
            device.rms_qkv_rope_append(RmsQkvRopeAppend {
                x,
                norm,
                eps: 0.5,
                weight,
                cos,
                sin,
                positions,
                block_table,
                heads,
                kv_heads,
                q,
                k_pages,
                v_pages,
            })
        },
    )
}

pub fn attention_paged(draw: &mut Draw) -> Call {
    let cache = Cache::new(draw, 70);
    let dims = [cache.rows, cache.heads * cache.head_dim];
    let q = Part::cut(draw, Kind::Acts, &dims);
    let out = Part::new(draw, Kind::Acts, &dims);
    let [k, v] = cache.pages(draw);
    let heads = draw.size(cache.heads);
    let kv_heads = draw.size(cache.kv_heads);
    // All rows of one sequence, or runs of several.
    let (own_table, own_runs) = runs(draw, &cache);
    let (table, runs) = if draw.one_in(3) { (own_table, own_runs) } else { (cache.table, vec![1; cache.rows]) };
    Call::new(vec![q, k, v, table, cache.positions], vec![out], move |device, inputs, outputs| {
        let [q, k_pages, v_pages, block_table, positions] = all(inputs);
        let [out] = these(outputs);
        let scale = 0.25;
        device.attention_paged(AttentionPaged {
            q,
            k_pages,
            v_pages,
            block_table,
            runs: &runs,
            positions,
            heads,
            kv_heads,
            scale,
            out,
        })
    })
}

/// Runs of rows with a block table each; most add up to the rows of the call.
fn runs(draw: &mut Draw, cache: &Cache) -> (Part, Vec<usize>) {
    let mut runs = match draw.below(3) {
        0 => vec![1; cache.rows],
        1 => vec![cache.rows],
        _ => {
            let cut = draw.below(cache.rows + 1);
            vec![cut, cache.rows - cut]
        }
    };
    if draw.one_in(8) {
        runs.push(draw.pick(&[0, 1, 40, usize::MAX]));
    }
    let logical = 1 + draw.below(3);
    let entries = indices(draw, runs.len() * logical, cache.pages);
    (Part::ids(draw, &[runs.len(), logical], entries), runs)
}
