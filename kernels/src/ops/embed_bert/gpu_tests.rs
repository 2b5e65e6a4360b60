//! The kernel against the CPU.
use super::EmbedBert;
use crate::testing::numbers;
use crate::testing_gpu::*;

fn run(rig: &Rig<'_>, [vocab, hidden]: [usize; 2], eps: f32, ids: &[u32]) -> Vec<f32> {
    let table = |seed, rows| rig.weight(&[rows, hidden], &numbers(seed, rows * hidden, 1.0));
    let words = table(1, vocab);
    let positions = table(2, ids.len() + 1);
    let types = table(3, 2);
    let weight = table(4, 1);
    let bias = table(5, 1);
    let (ids, mut out) = (rig.ids(ids), rig.poisoned(&[ids.len(), hidden]));
    let op = EmbedBert {
        words: words.view(),
        positions: positions.view(),
        types: types.view(),
        weight: weight.view().reshape(&[hidden]),
        bias: bias.view().reshape(&[hidden]),
        eps,
        ids: ids.view(),
        out: out.view_mut(),
    };
    rig.device.embed_bert(op).expect("valid");
    rig.read(&out)
}

/// As `layer_norm`'s test: sums of at most 40 roundings, of numbers whose mean is small beside their deviation, and two
/// roundings more where three tables are added. A bias of up to 1 adds one of f32. One value alone is its own mean.
#[test]
fn agrees_with_the_cpu() {
    for ([vocab, hidden], rows, eps) in [
        ([3, 1], 1, 1e-12),
        ([7, 20], 3, 1e-12),
        ([9, 24], 5, 1e-5),
        ([9, 65], 63, 1e-12),
        ([9, 63], 64, 1e-12),
        ([9, 64], 65, 1e-12),
        ([11, 768], 9, 1e-12),
        ([2, 1032], 2, 1.0),
    ] {
        let ids: Vec<u32> = (0..rows).map(|row| (row * 31 + vocab as u32 - 1) % vocab as u32).collect();
        let (got, want) = on_gpu_and_cpu(|rig| run(rig, [vocab, hidden], eps, &ids));
        let slack = |i: usize| 2f64.powi(-18) * (1.0 + f64::from(want[i]).abs());
        assert_rounds_to(&format!("{rows} of {vocab} x {hidden}"), &got, &want, slack);
    }
}

/// The row of an id outside the table is NaN, whatever lies behind the table; its neighbours are right.
#[test]
fn an_id_outside_the_table_shows() {
    each_gpu(|gpu| {
        let [got, want] = [[3, 4, 1], [3, 0, 1]].map(|ids| run(&Rig { device: gpu }, [4, 16], 1e-5, &ids));
        assert_eq!([&got[..16], &got[32..]], [&want[..16], &want[32..]]);
        assert!(got[16..32].iter().all(|v| v.is_nan()));
    });
}
