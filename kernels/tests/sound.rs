//! Safe calls that once read or wrote outside of their tensors.
#![forbid(unsafe_code)]
use med2e3_kernels::ops::{AttentionPaged, QkvRopeAppend};
use med2e3_kernels::{Cpu, DType, Device, Emulation, Error, Gpu, PAGE_TOKENS, Plan, Precision, Result, Tensor};

fn devices() -> [Box<dyn Device>; 3] {
    let emulated = |checked| Gpu::emulated(Emulation { seed: 0, checked });
    [Box::new(emulated(false)), Box::new(emulated(true)), Box::new(Cpu { precision: Precision::Exact })]
}

/// Activations that are all `value`.
fn acts(device: &dyn Device, dims: &[usize], value: f32) -> Tensor {
    let mut tensor = device.activations(dims).expect("memory");
    let count = tensor.dims().count();
    let written = match tensor.dtype() {
        DType::Bf16 => device.write(&mut tensor, &vec![half::bf16::from_f32(value); count]),
        _ => device.write(&mut tensor, &vec![value; count]),
    };
    written.expect("sizes agree");
    tensor
}

fn floats(device: &dyn Device, dims: &[usize], value: f32) -> Tensor {
    let mut tensor = device.tensor(dims, DType::F32).expect("memory");
    let count = tensor.dims().count();
    device.write(&mut tensor, &vec![value; count]).expect("sizes agree");
    tensor
}

fn ids(device: &dyn Device, dims: &[usize], values: &[u32]) -> Tensor {
    let mut tensor = device.tensor(dims, DType::U32).expect("memory");
    device.write(&mut tensor, values).expect("sizes agree");
    tensor
}

/// Rows of one head of 16 columns over a cache of two pages, with 100 angles.
struct Step<'a> {
    device: &'a dyn Device,
    positions: &'a [u32],
    /// Of one sequence, or of one for each row.
    table: (&'a [usize], &'a [u32]),
}

impl Step<'_> {
    /// Which rows of q have numbers, and how many numbers the cache has got.
    fn append(&self) -> Result<(Vec<bool>, [usize; 2])> {
        let Self { device, .. } = *self;
        let rows = self.positions.len();
        let qkv = acts(device, &[rows, 48], 1.0);
        let mut q = acts(device, &[rows, 16], 7.0);
        let [cos, sin] = [(); 2].map(|()| floats(device, &[100, 8], 0.5));
        let [mut k, mut v] = [(); 2].map(|()| acts(device, &[2, PAGE_TOKENS, 16], f32::NAN));
        let positions = ids(device, &[rows], self.positions);
        let table = ids(device, self.table.0, self.table.1);
        device.qkv_rope_append(QkvRopeAppend {
            qkv: qkv.view(),
            cos: cos.view(),
            sin: sin.view(),
            positions: positions.view(),
            block_table: table.view(),
            heads: 1,
            kv_heads: 1,
            q: q.view_mut(),
            k_pages: k.view_mut(),
            v_pages: v.view_mut(),
        })?;
        let q = device.read(q.view())?;
        let counts =
            [&k, &v].map(|pages| device.read(pages.view()).map(|all| all.iter().filter(|v| !v.is_nan()).count()));
        let [keys, values] = counts;
        Ok((q.chunks_exact(16).map(|row| row.iter().all(|v| v.is_finite())).collect(), [keys?, values?]))
    }

    /// Which rows have numbers.
    fn attend(&self) -> Result<Vec<bool>> {
        let Self { device, .. } = *self;
        let rows = self.positions.len();
        let q = acts(device, &[rows, 16], 0.5);
        let mut out = acts(device, &[rows, 16], 7.0);
        let [k, v] = [(); 2].map(|()| acts(device, &[2, PAGE_TOKENS, 16], 0.25));
        let positions = ids(device, &[rows], self.positions);
        let table = ids(device, self.table.0, self.table.1);
        device.attention_paged(AttentionPaged {
            q: q.view(),
            k_pages: k.view(),
            v_pages: v.view(),
            block_table: table.view(),
            runs: &vec![1; rows],
            positions: positions.view(),
            heads: 1,
            kv_heads: 1,
            scale: 1.0,
            out: out.view_mut(),
        })?;
        let out = device.read(out.view())?;
        Ok(out.chunks_exact(16).map(|row| row.iter().all(|v| (v - 0.25).abs() < 0.01)).collect())
    }
}

/// Page numbers beyond the cache: the byte after it, another allocation, and none at all.
#[test]
fn pages_outside_the_cache_are_not_written() {
    for device in devices() {
        for page in [2, 3, 40_000_000, u32::MAX] {
            let step = Step { device: &*device, positions: &[0], table: (&[1], &[page]) };
            let what = format!("page {page} on {}", device.describe());
            assert_eq!(step.append().expect(&what), (vec![false], [0, 0]), "{what}");
            assert_eq!(step.attend().expect(&what), [false], "{what}");
        }
        let step = Step { device: &*device, positions: &[0], table: (&[1], &[1]) };
        assert_eq!(step.append().expect("valid"), (vec![true], [16, 16]));
        assert_eq!(step.attend().expect("valid"), [true]);
    }
}

/// Positions beyond the table, the angles, `i32`; and, for attention, sound rows beside them.
#[test]
fn positions_outside_the_table_are_not_read() {
    for device in devices() {
        let what = device.describe();
        for position in [64, 100, 128, 1 << 31, (1 << 31) - 1, u32::MAX - 63, u32::MAX] {
            let step = Step { device: &*device, positions: &[position], table: (&[1], &[1]) };
            assert_eq!(step.append().expect(&what), (vec![false], [0, 0]), "position {position} on {what}");
            assert_eq!(step.attend().expect(&what), [false], "position {position} on {what}");
        }
        // Page 0 of a table of two covers position 70, but there are no angles after 99.
        let step = Step { device: &*device, positions: &[99, 100], table: (&[2], &[1, 0]) };
        assert_eq!(step.append().expect(&what), (vec![true, false], [16, 16]), "{what}");
        // In prefill, with a page that is not there behind one that is, in no order.
        let mut positions: Vec<u32> = (0..64).rev().collect();
        positions.extend([64, u32::MAX, 3, 127, 128]);
        let step = Step { device: &*device, positions: &positions, table: (&[2], &[1, 2]) };
        let want: Vec<bool> = positions.iter().map(|&position| position < 64).collect();
        assert_eq!(step.attend().expect(&what), want, "{what}");
    }
}

/// Two rows of one place would race; neither is appended.
#[test]
fn places_are_not_shared() {
    for device in devices() {
        let what = device.describe();
        let append = |positions: &[u32], dims: &[usize], table: &[u32]| {
            Step { device: &*device, positions, table: (dims, table) }.append().expect(&what)
        };
        let own = append(&[5, 5, 6, 5], &[4, 1], &[1, 1, 1, 0]);
        assert_eq!(own, (vec![false, false, true, true], [32, 32]), "sequences of their own on {what}");
        let again = append(&[5, 5, 7], &[1], &[0]);
        assert_eq!(again, (vec![true, false, true], [32, 32]), "positions that do not ascend by one on {what}");
        // 68 rows from 30 on: the slots 30 to 33 of the one page are wanted twice.
        let positions: Vec<u32> = (30..98).collect();
        let twice = append(&positions, &[2], &[1, 1]);
        let want: Vec<bool> = positions.iter().map(|at| (34..94).contains(at)).collect();
        assert_eq!(twice, (want, [60 * 16, 60 * 16]), "a page with two numbers on {what}");
    }
}

/// A recorded step runs again with whatever its table holds by then.
#[test]
fn recorded_steps_look_again() {
    let gpu = Gpu::emulated(Emulation { seed: 0, checked: true });
    let device: &dyn Device = &gpu;
    let q = acts(device, &[1, 16], 0.5);
    let mut out = acts(device, &[1, 16], 7.0);
    let [k, v] = [(); 2].map(|()| acts(device, &[2, PAGE_TOKENS, 16], 0.25));
    let positions = ids(device, &[1], &[3]);
    let mut table = ids(device, &[1], &[1]);
    let mut record = || {
        device.capture(&mut || {
            device.attention_paged(AttentionPaged {
                q: q.view(),
                k_pages: k.view(),
                v_pages: v.view(),
                block_table: table.view(),
                runs: &[],
                positions: positions.view(),
                heads: 1,
                kv_heads: 1,
                scale: 1.0,
                out: out.view_mut(),
            })
        })
    };
    // The workspace cannot grow while a graph is recorded.
    assert!(record().is_err());
    device.reserve(1 << 16).expect("memory");
    let graph = record();
    let graph = graph.expect("recorded").expect("an emulated GPU records");
    for (page, sound) in [(1, true), (2, false), (u32::MAX, false), (0, true)] {
        device.write(&mut table, &[page]).expect("sizes agree");
        graph.launch().expect("runs");
        assert_eq!(
            device.read(out.view()).expect("readable").iter().all(|v| (v - 0.25).abs() < 0.01),
            sound,
            "page {page}"
        );
    }
}

/// Sizes whose product wraps around to what an empty tensor has, and to what a small one has.
#[test]
fn sizes_do_not_wrap_around() {
    let plans: [Box<dyn Device>; 2] = [Box::new(Plan::cpu()), Box::new(Plan::gpu())];
    for device in devices().into_iter().chain(plans) {
        let what = device.describe();
        let too_large: [&[usize]; 5] =
            [&[4, 1 << 62], &[1 << 32, 1 << 32], &[usize::MAX, usize::MAX], &[(1 << 62) + 1, 4], &[0, 1 << 62]];
        for dims in too_large {
            let refused = device.activations(dims).err().expect("no memory is that large");
            assert!(matches!(refused, Error::Contract { .. } | Error::Memory { .. }), "{dims:?} on {what}: {refused}");
        }
        let empty = device.tensor(&[0], DType::F32).expect("no memory");
        let reshape = || empty.view().reshape(&[4, 1 << 62]).dims().count();
        let reshaped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(reshape));
        assert!(reshaped.is_err(), "{reshaped:?} elements out of an empty tensor on {what}");
        assert!(device.read(empty.view().reshape(&[4, 0])).expect("nothing").is_empty());
        for bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
            match device.alloc(bytes) {
                Err(Error::Memory { wanted, .. }) => assert_eq!(wanted, bytes, "{what}"),
                Err(error) => panic!("{bytes} bytes on {what}: {error}"),
                Ok(_) => assert!(what.starts_with("a plan"), "{bytes} bytes on {what}"),
            }
        }
    }
}

/// What a plan has for memory is larger than the host's; reading it is an error.
#[test]
fn a_plan_is_not_read_into_memory() {
    let device: &dyn Device = &Plan::gpu();
    let large = device.activations(&[1 << 58]).expect("it counts only");
    assert!(matches!(device.read(large.view()), Err(Error::Memory { .. })));
    assert!(device.activations(&[1 << 61]).is_err(), "more than an address space");
}
