//! What every launcher refuses before it launches, and what a failed launch leaves behind.
use super::{Emulation, Gpu, Kernel, Ptr, kernel};
use crate::ops::*;
use crate::testing::assert_refused;
use crate::testing_gpu::Rig;
use crate::{DType, Device, Dims, Mem, Tensor};

fn checked() -> Gpu {
    Gpu::emulated(Emulation { seed: 1, checked: true })
}

fn rms_norm(gpu: &Gpu, x: &Tensor, weight: &Tensor, out: &mut Tensor) -> crate::Result<()> {
    gpu.rms_norm(RmsNorm { x: x.view(), weight: weight.view(), eps: 1.0, out: out.view_mut() })
}

/// Memory of the host and of another GPU, as input and as output, and the wrong element type.
#[test]
fn foreign_memory_and_types_are_refused() {
    let gpu = checked();
    let other = checked();
    let own = Rig { device: &gpu };
    let foreign = Rig { device: &other };
    let host = crate::testing::poisoned(&[2, 8]);
    let x = own.poisoned(&[2, 8]);
    let weight = own.poisoned(&[8]);
    let mut out = own.poisoned(&[2, 8]);
    let own_space = gpu.space();
    let foreign_space = other.space();
    let text = format!("rms_norm: x lies in the memory of Host, but the op runs on {own_space:?}");
    assert_refused(rms_norm(&gpu, &host, &weight, &mut out), &text);
    let text = format!("rms_norm: out lies in the memory of {foreign_space:?}, but the op runs on {own_space:?}");
    assert_refused(rms_norm(&gpu, &x, &weight, &mut foreign.poisoned(&[2, 8])), &text);
    let floats = own.poisoned_floats(&[2, 8]);
    assert_refused(rms_norm(&gpu, &floats, &weight, &mut out), "rms_norm: x holds F32, wanted Bf16");
    let text = "rms_norm: out holds F32, wanted Bf16";
    assert_refused(rms_norm(&gpu, &x, &weight, &mut own.poisoned_floats(&[2, 8])), text);
    rms_norm(&gpu, &x, &weight, &mut out).expect("a refusal leaves the device usable");
}

/// An address off the boundary of its elements, which no tensor of a device's own has.
#[test]
fn odd_addresses_are_refused() {
    let gpu = checked();
    let rig = Rig { device: &gpu };
    let weight = rig.poisoned(&[8]);
    let mut out = rig.poisoned(&[2, 8]);
    let at = std::ptr::without_provenance_mut(0x1001);
    // SAFETY: nobody reads or writes there: the op is refused.
    let mem = unsafe { Mem::from_raw(at, 32, gpu.space(), true, Box::new(())) };
    let x = Tensor::new(mem, Dims::new(&[2, 8]), DType::Bf16);
    assert_refused(rms_norm(&gpu, &x, &weight, &mut out), "rms_norm: x starts at 0x1001, wanted a multiple of 2");
}

/// An output that shares bytes with an input or another output, as only raw memory can; inputs may share.
#[test]
fn overlapping_tensors_are_refused() {
    let gpu = checked();
    let rig = Rig { device: &gpu };
    let mut whole = rig.acts(&[32], &[1.0; 32]);
    let start = whole.view_mut().addr();
    let at = |elements: usize| {
        // SAFETY: inside `whole`, which outlives the tensors and which nobody else uses meanwhile.
        let mem = unsafe { Mem::from_raw(start.add(2 * elements), 32, gpu.space(), true, Box::new(())) };
        Tensor::new(mem, Dims::new(&[2, 8]), DType::Bf16)
    };
    let place = |tensor: &str, elements: usize| {
        let first = start.addr() + 2 * elements;
        format!("{tensor} at {first:#x}..{:#x}", first + 32)
    };
    let weight = rig.acts(&[8], &[1.0; 8]);
    for out in [0, 1, 15] {
        let x_place = place("x", 0);
        let out_place = place("out", out);
        let text = format!("rms_norm: {x_place} and {out_place} overlap, and one of them is written");
        assert_refused(rms_norm(&gpu, &at(0), &weight, &mut at(out)), &text);
    }
    let args = gpu.args("any").expect("usable");
    args.out("out", &mut at(0).view_mut()).expect("the first tensor");
    let later = args.bf16("x", &at(8).view()).map(drop);
    assert_refused(
        later,
        &format!("any: {} and {} overlap, and one of them is written", place("out", 0), place("x", 8)),
    );
    rms_norm(&gpu, &at(0), &weight, &mut at(16)).expect("neighbours do not overlap");
    rms_norm(&gpu, &at(16), &weight, &mut at(0)).expect("in either order");
    let x = at(0);
    let mut out = rig.poisoned(&[2, 8]);
    let op = LayerNorm { x: x.view(), weight: weight.view(), bias: weight.view(), eps: 1.0, out: out.view_mut() };
    gpu.layer_norm(op).expect("inputs may share");
}

/// Columns that were cut leave gaps between rows, which these kernels would read as values.
#[test]
fn gaps_between_rows_are_refused() {
    let gpu = checked();
    let rig = Rig { device: &gpu };
    let x = rig.poisoned(&[2, 12]);
    let weight = rig.poisoned(&[8]);
    let mut out = rig.poisoned(&[2, 8]);
    let cut = x.view().cols(0..8);
    let weight = weight.view();
    let result = gpu.rms_norm(RmsNorm { x: cut, weight, eps: 1.0, out: out.view_mut() });
    assert_refused(result, "rms_norm: x's rows lie 12 elements apart, wanted no gaps");
    let result = gpu.layer_norm(LayerNorm { x: cut, weight, bias: weight, eps: 1.0, out: out.view_mut() });
    assert_refused(result, "layer_norm: x's rows lie 12 elements apart, wanted no gaps");
    let result = gpu.copy(Copy { x: cut, out: out.view_mut() });
    assert_refused(result, "copy: x's rows lie 12 elements apart, wanted no gaps");
}

/// No rows, no columns, no slices: nothing is launched, and nothing is written.
#[test]
fn nothing_to_do_is_done() {
    let gpu = checked();
    let rig = Rig { device: &gpu };
    for [rows, dim] in [[0, 8], [3, 0], [0, 0]] {
        let x = rig.acts(&[rows, dim], &[]);
        let weight = rig.poisoned(&[dim]);
        let mut out = rig.acts(&[rows, dim], &[]);
        rms_norm(&gpu, &x, &weight, &mut out).expect("nothing to do");
        let x = x.view();
        let bias = weight.view();
        let op = LayerNorm { x, weight: bias, bias, eps: 1.0, out: out.view_mut() };
        gpu.layer_norm(op).expect("nothing to do");
        gpu.copy(Copy { x, out: out.view_mut() }).expect("nothing to do");
        let ids = rig.ids(&vec![0; rows]);
        let table = rig.poisoned(&[4, dim]);
        let op = EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() };
        gpu.embed_tokens(op).expect("nothing to do");
        let slices = rig.poisoned(&[2, rows, dim]);
        let scores = rig.floats(&[2], &[0.5; 2]);
        let mut means = rig.poisoned(&[rows, dim]);
        let op = SliceCombine { z_2d_slices: slices.view(), scores: scores.view(), out: means.view_mut() };
        gpu.slice_combine(op).expect("nothing to do");
        gpu.slice_max(SliceMax { z_2d_slices: slices.view(), out: means.view_mut() }).expect("nothing to do");
    }
    let keys = rig.floats(&[0, 4], &[]);
    let guide = rig.poisoned(&[1, 4]);
    let mut scores = rig.floats(&[0], &[]);
    let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature: 1.0, scores: scores.view_mut() };
    gpu.tgis_scores(op).expect("nothing to do");
}

/// A kernel of ours with 128 threads.
const EMBED: Kernel = kernel!(embed_tokens_kernel, 128);

/// The parameter block of `embed_tokens`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Params {
    table: Ptr,
    ids: Ptr,
    out: Ptr,
    sizes: [u32; 4],
}

/// Grids beyond the driver's limits are refused, and the device goes on.
#[test]
fn grids_have_limits() {
    let gpu = checked();
    let params = Params { table: Ptr::NULL, ids: Ptr::NULL, out: Ptr::NULL, sizes: [0; 4] };
    for blocks in [[1 << 31, 1, 1], [1, 65_536, 1], [1, 1, 65_536]] {
        // SAFETY: nothing is launched.
        let result = unsafe { gpu.launch(&EMBED, blocks, 0, &params) };
        let text = format!("embed_tokens_kernel: a grid of {blocks:?} blocks, at most [2147483647, 65535, 65535]");
        assert_refused(result, &text);
    }
    gpu.usable().expect("nothing ran");
}

/// A kernel that fails is named, by the launch and by everything after it; memory cannot be read any more.
#[test]
fn a_failed_launch_ends_the_device() {
    let gpu = checked();
    let rig = Rig { device: &gpu };
    let x = rig.poisoned(&[1, 8]);
    let weight = rig.poisoned(&[8]);
    let mut out = rig.poisoned(&[1, 8]);
    let params = Params { table: Ptr::NULL, ids: Ptr::NULL, out: Ptr::NULL, sizes: [0; 4] };
    // SAFETY: the emulator refuses the launch for its shared memory, before any thread runs.
    let failed = unsafe { gpu.launch(&EMBED, [1, 1, 1], u32::MAX, &params) }.expect_err("too much shared memory");
    let text = failed.to_string();
    assert!(text.starts_with("embed_tokens_kernel: 4294967295 bytes of dynamic shared memory"), "{text}");
    assert!(text.ends_with("the device runs nothing more, start anew"), "{text}");
    assert_refused(rms_norm(&gpu, &x, &weight, &mut out), &text);
    assert_refused(gpu.copy_out(out.view(), &mut [0; 16]), &text);
    let other = checked();
    let rig = Rig { device: &other };
    let x = rig.poisoned(&[1, 8]);
    let weight = rig.poisoned(&[8]);
    let mut out = rig.poisoned(&[1, 8]);
    rms_norm(&other, &x, &weight, &mut out).expect("another device goes on");
}

/// Memory is given until there is none; the refusal names both numbers, and what is freed can be taken again.
#[test]
fn memory_ends() {
    let gpu = Gpu::emulated_with_memory(Emulation::default(), 1000);
    let first = gpu.alloc(600).expect("fits");
    assert_eq!(gpu.free_bytes(), Some(400));
    let text = "the GPU could not allocate 401 bytes, 400 are free; end other programs that use it, choose another \
                GPU, or use --device cpu";
    assert_eq!(gpu.alloc(401).err().map(|error| error.to_string()).as_deref(), Some(text));
    drop(first);
    assert!(gpu.alloc(1000).is_ok(), "all of it is free again");
    assert_eq!(gpu.free_bytes(), Some(1000));
}

/// What an op finds in the workspace is no zero and nothing of the op before, so that it must write what it reads.
#[test]
fn the_workspace_holds_nothing() {
    let gpu = checked();
    gpu.reserve(64).expect("memory");
    for bytes in [32, 64, 256, 16] {
        let mut workspace = gpu.workspace(bytes).expect("memory");
        let values = |workspace: &super::workspace::Workspace<'_>| {
            (&gpu as &dyn Device).read(workspace.view(&[bytes / 4], DType::F32)).expect("readable")
        };
        assert!(values(&workspace).iter().all(|value| value.is_nan()), "{bytes} bytes");
        assert!(workspace.ptr().is_aligned(256));
    }
}

/// Recorded ops run when the recording is replayed, each time, on what the tensors hold by then.
#[test]
fn recorded_ops_run_again() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let rig = Rig { device: &gpu };
    let mut counters = rig.ids(&[3, 10]);
    let advance = |counters: &mut Tensor| gpu.advance(Advance { counters: counters.view_mut() });
    advance(&mut counters).expect("an op runs before it is recorded");
    let graph = gpu.capture(&mut || advance(&mut counters).and_then(|()| advance(&mut counters))).expect("recordable");
    let read = |counters: &Tensor| rig.device.read_u32(counters.view()).expect("readable");
    assert_eq!(read(&counters), [4, 11], "recording runs nothing");
    let graph = graph.expect("a GPU records");
    graph.launch().and_then(|()| graph.launch()).expect("replayed");
    assert_eq!(read(&counters), [8, 15]);
    gpu.copy_in(&mut counters, bytemuck::cast_slice(&[0u32, 7])).expect("sizes agree");
    graph.launch().expect("replayed");
    assert_eq!(read(&counters), [2, 9]);
}

/// While ops are recorded nothing is copied, allocated or recorded apart; an error ends the recording, and the device
/// goes on.
#[test]
fn a_recording_takes_ops_only() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let rig = Rig { device: &gpu };
    let mut counters = rig.ids(&[3]);
    let advance = |counters: &mut Tensor| gpu.advance(Advance { counters: counters.view_mut() });
    advance(&mut counters).expect("an op runs before it is recorded");
    let text = "a graph is being recorded, which takes ops only: nothing may be copied or allocated";
    let graph = gpu.capture(&mut || {
        assert_refused(gpu.alloc(8).map(drop), &format!("alloc: {text}"));
        assert_refused(rig.device.read_u32(counters.view()).map(drop), &format!("copy_out: {text}"));
        assert_refused(gpu.capture(&mut || Ok(())).map(drop), &format!("capture: {text}"));
        rig.device.write(&mut counters, &[1u32])
    });
    assert_refused(graph.map(drop), &format!("copy_in: {text}"));
    advance(&mut counters).expect("the recording has ended");
    assert_eq!(rig.device.read_u32(counters.view()).expect("readable"), [5]);
}

/// Other threads that share the device wait until a recording has ended; nothing of theirs is recorded or refused.
#[test]
fn other_threads_wait_for_a_recording() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let rig = Rig { device: &gpu };
    let mut counters = rig.ids(&[3]);
    let mut others = rig.ids(&[5]);
    let advance = |counters: &mut Tensor| gpu.advance(Advance { counters: counters.view_mut() });
    advance(&mut counters).expect("an op runs before it is recorded");
    let started = std::sync::Barrier::new(2);
    let graph = std::thread::scope(|scope| {
        let mut work = Some(|| {
            started.wait();
            let mut fresh = rig.ids(&[7]);
            advance(&mut fresh).and_then(|()| advance(&mut others)).expect("its turn comes");
            assert_eq!(rig.device.read_u32(fresh.view()).expect("readable"), [8]);
        });
        let mut other = None;
        let graph = gpu.capture(&mut || {
            let thread = scope.spawn(work.take().expect("called once"));
            started.wait();
            // Time to come to the device, where it finds that it must wait.
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!thread.is_finished());
            other = Some(thread);
            advance(&mut counters)
        });
        other.expect("called").join().expect("no panic");
        graph.expect("recordable").expect("a GPU records")
    });
    graph.launch().expect("replayed");
    assert_eq!(rig.device.read_u32(counters.view()).expect("readable"), [5]);
    assert_eq!(rig.device.read_u32(others.view()).expect("readable"), [6], "recorded by nobody");
}

/// What a recording uses stays as long as the recording, though its tensors are gone; then it is given back.
#[test]
fn recordings_keep_memory() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given");
    // A real GPU's free memory changes by pages, and not by us alone.
    let is_counted = gpu.is_none();
    let gpu = gpu.unwrap_or_else(|| Gpu::emulated_with_memory(Emulation { seed: 0, checked: true }, 64));
    let rig = Rig { device: &gpu };
    let assert_free = |bytes, why| assert!(!is_counted || gpu.free_bytes() == Some(bytes), "{why}: {bytes} bytes");
    let mut counters = rig.ids(&[3, 4]);
    let graph = gpu.capture(&mut || gpu.advance(Advance { counters: counters.view_mut() })).expect("recordable");
    assert_free(56, "recorded");
    drop(counters);
    assert_free(56, "the recording may still write there");
    let others = rig.ids(&[5, 6]);
    let graph = graph.expect("a GPU records");
    graph.launch().expect("its memory is there");
    assert_eq!(rig.device.read_u32(others.view()).expect("readable"), [5, 6], "new memory is other memory");
    drop((graph, others));
    assert_free(64, "all is given back");
}

/// Memory that a recording was not given comes back while the recording lives, whenever it was taken; what the device
/// keeps between an op's launches counts as given.
#[test]
fn recordings_keep_no_other_memory() {
    let gpu = Gpu::emulated_with_memory(Emulation { seed: 0, checked: true }, 4096);
    let rig = Rig { device: &gpu };
    let free = || gpu.free_bytes().expect("counted");
    let keys = rig.floats(&[2, 4], &[1.0; 8]);
    let guide = rig.acts(&[1, 4], &[1.0; 4]);
    let before = rig.ids(&[1, 2]);
    let mut scores = rig.floats(&[2], &[0.0; 2]);
    let mut score = || {
        let scores = scores.view_mut();
        gpu.tgis_scores(TgisScores { keys: keys.view(), guide: guide.view(), temperature: 1.0, scores })
    };
    score().expect("an op runs before it is recorded");
    let graph = gpu.capture(&mut score).expect("recordable").expect("a GPU records");
    let start = free();
    drop(before);
    assert_eq!(free(), start + 8, "from before the recording");
    for _ in 0..3 {
        let mut after = rig.ids(&[3, 4]);
        gpu.advance(Advance { counters: after.view_mut() }).expect("an op outside of the recording");
        drop(after);
        assert_eq!(free(), start + 8, "from after the recording");
    }
    let start = free();
    gpu.reserve(1024).expect("memory");
    assert_eq!(free(), start - 1024, "the workspace of the recorded op waits for the graph");
    graph.launch().expect("its workspace is there");
    assert_eq!(rig.device.read(scores.view()).expect("readable"), [0.5; 2]);
    drop(graph);
    assert!(free() > start - 1024, "and goes with it");
}

/// A device that works by itself measures itself.
#[test]
fn ops_are_timed() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let rig = Rig { device: &gpu };
    let mut counters = rig.ids(&[0]);
    let time = gpu.time(&mut || gpu.advance(Advance { counters: counters.view_mut() })).expect("runs");
    assert!(time.as_nanos() > 0 && time.as_secs() < 60, "{time:?}");
    assert_eq!(rig.device.read_u32(counters.view()).expect("readable"), [1]);
}

/// What was uploaded is what arrives, though nobody waits between the uploads and the pinned buffers are filled several
/// times over; rounded on the way, or as it is.
#[test]
fn uploads_arrive_whole() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let value = |tensor: usize, i: usize| ((i.wrapping_mul(2_654_435_761) + tensor) % 251) as f32;
    let counts = [1, 3, 1 << 20, (1 << 20) + 1, 9_000_001, 0, 12_345_679, 65];
    let upload = |(tensor, &count): (usize, &usize)| {
        let values: Vec<f32> = (0..count).map(|i| value(tensor, i)).collect();
        let dims = Dims::new(&[count]);
        let dtype = DType::F32;
        let owner = std::sync::Arc::new(bytemuck::cast_slice::<f32, u8>(&values).to_vec());
        let weight = gpu.weight(crate::HostTensor { range: 0..owner.len(), owner, dims, dtype }).expect("test memory");
        let mut floats = (&gpu as &dyn Device).tensor(&[count], DType::F32).expect("test memory");
        gpu.copy_in(&mut floats, bytemuck::cast_slice(&values)).expect("sizes agree");
        (weight, floats)
    };
    let tensors: Vec<_> = counts.iter().enumerate().map(upload).collect();
    for (tensor, ((weight, floats), &count)) in tensors.iter().zip(&counts).enumerate() {
        for view in [weight.view(), floats.view()] {
            let got: Vec<f32> = (&gpu as &dyn Device).read(view).expect("readable");
            let wrong = (0..count).find(|&i| got[i] != value(tensor, i));
            assert_eq!((got.len(), wrong), (count, None), "tensor {tensor} as {:?}", view.dtype());
        }
    }
}

/// New memory is zero, and a window of a tensor's columns comes back row after row, whether or not it is short.
#[test]
fn windows_are_read_without_their_gaps() {
    let gpu = Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(checked);
    let device: &dyn Device = &gpu;
    for rows in [1, 7, 3000] {
        let mut tensor = device.tensor(&[rows, 24], DType::U32).expect("test memory");
        assert_eq!(device.read_u32(tensor.view()).expect("readable"), vec![0; 24 * rows], "{rows} new rows");
        let values: Vec<u32> = (0..24 * rows as u32).collect();
        device.write(&mut tensor, &values).expect("sizes agree");
        for cols in [0..24, 3..10, 23..24] {
            let want: Vec<u32> = values.chunks(24).flat_map(|row| row[cols.clone()].to_vec()).collect();
            let got = device.read_u32(tensor.view().cols(cols.clone())).expect("readable");
            assert_eq!(got, want, "columns {cols:?} of {rows} rows");
        }
    }
}
