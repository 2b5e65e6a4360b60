//! Tests of `embed_bert`.
use super::EmbedBert;
use crate::ops::layer_norm::reference;
use crate::testing::*;
use crate::{Device, Error, Result, Tensor};

struct Tables {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    weight: Tensor,
    bias: Tensor,
}

impl Tables {
    fn poisoned(dims: [&[usize]; 5]) -> Self {
        let [words, positions, types, weight, bias] = dims.map(poisoned);
        Self { words, positions, types, weight, bias }
    }

    fn run(&self, ids: &Tensor, eps: f32, out: &mut Tensor) -> Result<()> {
        CPU.embed_bert(EmbedBert {
            words: self.words.view(),
            positions: self.positions.view(),
            types: self.types.view(),
            weight: self.weight.view(),
            bias: self.bias.view(),
            eps,
            ids: ids.view(),
            out: out.view_mut(),
        })
    }
}

#[test]
fn worked_by_hand() {
    let tables = Tables {
        words: tensor(&[2, 2], &[9.0, 9.0, 1.0, 0.0]),
        positions: tensor(&[3, 2], &[1.0, 0.0, 0.0, 3.0, 9.0, 9.0]),
        types: tensor(&[2, 2], &[1.0, 1.0, 9.0, 9.0]),
        weight: tensor(&[2], &[2.0, 4.0]),
        bias: tensor(&[2], &[0.5, -0.5]),
    };
    // Sums (3, 1) and (2, 4): spread 1 around the mean.
    let mut out = poisoned(&[2, 2]);
    tables.run(&tensor_u32(&[1, 1]), 0.0, &mut out).expect("valid");
    assert_eq!(values(&out), [2.5, -4.5, -1.5, 3.5]);
}

/// Two roundings of the sum come before the norm: they move it by 2^-23 of the summands, times the row's scale.
#[test]
fn agrees_with_f64() {
    for (index, (rows, hidden)) in [(1, 3), (5, 33), (40, 768)].into_iter().enumerate() {
        let seed = 370 + 6 * index as u32;
        let dtype = WEIGHT_TYPES[index];
        let part = |offset, rows| weight(&[rows, hidden], dtype, &numbers(seed + offset, rows * hidden, 1.0));
        let ((words, w), (positions, p), (types, t)) = (part(0, 30), part(1, 40), part(2, 2));
        let (scale, s) = weight(&[hidden], dtype, &numbers(seed + 3, hidden, 2.0));
        let (bias, b) = weight(&[hidden], dtype, &numbers(seed + 4, hidden, 1.0));
        let ids: Vec<u32> = (0..rows).map(|row| (row * 7 % 30) as u32).collect();
        let tables = Tables { words, positions, types, weight: scale, bias };
        let run = || {
            let mut out = poisoned(&[rows, hidden]);
            tables.run(&tensor_u32(&ids), 1e-12, &mut out).expect("valid");
            values(&out)
        };
        for (row, &id) in ids.iter().enumerate() {
            let sum: Vec<f32> = (0..hidden).map(|i| t[i] + p[row * hidden + i] + w[id as usize * hidden + i]).collect();
            let want = reference::layer_norm(&sum, &s, &b, 1e-12);
            // The three summands are at most 1, their spread around 1/2 or more: less than 20 units of 2^-24.
            let bound = 20.0 * 2f64.powi(-24) * 6.0;
            assert_within(&format!("row {row} of {hidden}"), &run()[row * hidden..][..hidden], &want, |_| bound);
        }
        assert_eq!(run(), run(), "repeats");
    }
}

#[test]
fn contract_errors() {
    let good: [&[usize]; 5] = [&[9, 4], &[3, 4], &[2, 4], &[4], &[4]];
    let refused = |part: usize, dims: &[usize], ids: &Tensor, out: &[usize], text: &str| {
        let mut tables = good;
        tables[part] = dims;
        let result = Tables::poisoned(tables).run(ids, 1.0, &mut poisoned(out));
        assert!(matches!(result, Err(Error::Contract { .. })));
        assert_refused(result, text);
    };
    let ids = tensor_u32(&[0, 8]);
    refused(0, &[9], &ids, &[2, 4], r#"embed_bert: words has dims [9], wanted ["vocab", "hidden"]"#);
    refused(1, &[3, 5], &ids, &[2, 4], "embed_bert: positions.hidden is 5, but words.hidden is 4");
    refused(2, &[2, 5], &ids, &[2, 4], "embed_bert: types.hidden is 5, but words.hidden is 4");
    refused(3, &[5], &ids, &[2, 4], "embed_bert: weight.hidden is 5, but words.hidden is 4");
    refused(4, &[5], &ids, &[2, 4], "embed_bert: bias.hidden is 5, but words.hidden is 4");
    refused(0, &[9, 4], &ids, &[3, 4], "embed_bert: out.rows is 3, but ids.rows is 2");
    refused(1, &[1, 4], &ids, &[2, 4], "embed_bert: 2 tokens, but positions for 1");
    refused(0, &[9, 4], &poisoned(&[2]), &[2, 4], "embed_bert: ids holds F32, wanted U32");
}
