//! The kernel against the CPU.
use super::EmbedTokens;
use crate::testing::numbers;
use crate::testing_gpu::*;

fn run(rig: &Rig<'_>, [vocab, hidden]: [usize; 2], ids: &[u32]) -> Vec<f32> {
    let table = rig.weight(&[vocab, hidden], &numbers(vocab as u32, vocab * hidden, 3.0));
    let (ids, mut out) = (rig.ids(ids), rig.poisoned(&[ids.len(), hidden]));
    let op = EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() };
    rig.device.embed_tokens(op).expect("valid");
    rig.read(&out)
}

#[test]
fn agrees_with_the_cpu() {
    for ([vocab, hidden], rows) in
        [([1, 1], 1), ([7, 20], 3), ([9, 24], 65), ([9, 65], 63), ([9, 63], 64), ([300, 1030], 4), ([5, 3072], 2)]
    {
        let ids: Vec<u32> = (0..rows).map(|row| (row * 31 + vocab as u32 - 1) % vocab as u32).collect();
        let (got, want) = on_gpu_and_cpu(|rig| run(rig, [vocab, hidden], &ids));
        assert_eq!(got, want, "{rows} of {vocab} x {hidden}");
    }
}

/// The row of an id outside the table is NaN, whatever lies behind the table; its neighbours are right.
#[test]
fn an_id_outside_the_table_shows() {
    each_gpu(|gpu| {
        for hidden in [12, 16] {
            let [got, want] =
                [[3, 4, 0, u32::MAX], [3, 0, 0, 0]].map(|ids| run(&Rig { device: gpu }, [4, hidden], &ids));
            assert_eq!(got[..hidden], want[..hidden]);
            assert_eq!(got[2 * hidden..3 * hidden], want[2 * hidden..3 * hidden]);
            assert!(got[hidden..2 * hidden].iter().chain(&got[3 * hidden..]).all(|v| v.is_nan()));
        }
    });
}
