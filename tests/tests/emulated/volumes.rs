//! Memory of volumes comes back, though steps of decoding are recorded and their recordings live as long as the engine.
use engine_tests::golden::{self, Goldens};
use med2e3::{Engine, LoadOptions, Request};
use med2e3_kernels::{Device, Emulation, Gpu, Plan};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Volumes that are encoded and asked about, one after the other.
const VOLUMES: usize = 300;

/// After this many, the first volume is encoded again.
const CYCLE: usize = 64;

/// Volumes that the GPU has room for.
const ROOM: usize = 4;

/// Every answer takes a step: the first one runs as it is, the second is recorded, all others are replayed. The GPU is
/// the emulated one, whose memory can be counted; the driver's rule is tested over its stand-in by the command line.
#[test]
fn volumes_come_and_go() {
    if std::env::var_os("MED2E3_TEST_DEVICE").is_some_and(|name| name != "emulated") {
        return;
    }
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "c_score9").expect("listed");
    let model = goldens.model_folder(&case.model);
    let folder = med2e3_loaders::ModelFolder::open(model.path()).expect("a model");
    let plan = Engine::plan(Plan::gpu(), &folder, &LoadOptions::default()).expect("a model");
    let room = plan.total() + (ROOM - 1) * plan.volume;
    let gpu = Arc::new(Gpu::emulated_with_memory(Emulation::default(), room));
    let free = || gpu.free_bytes().expect("counted");
    let mut engine = golden::load(gpu.clone(), model.path(), &case);
    let start = free();
    assert_eq!(start, ROOM * plan.volume);
    let request = Request { forced: Some(vec![5, 9]), logprobs: 1, ..Request::new("?") };
    let mut voxels = goldens.volume(&case.model);
    let shift = voxels.len() / CYCLE;
    let mut first = None;
    for round in 0..VOLUMES {
        let volume = engine.encode(&voxels, &mut |_| ()).unwrap_or_else(|error| panic!("volume {round}: {error}"));
        assert_eq!(free(), start - plan.volume, "volume {round}");
        let answer = engine.ask(&volume, &request, &mut |_| ControlFlow::Continue(()));
        let logprobs = answer.unwrap_or_else(|error| panic!("volume {round}: {error}")).logprobs;
        assert_eq!(logprobs.len(), 2);
        drop(volume);
        assert_eq!(free(), start, "volume {round}");
        if round % CYCLE == 0 {
            assert_eq!(*first.get_or_insert(logprobs.clone()), logprobs, "volume {round} is the first again");
        }
        voxels.rotate_left(shift);
    }
}
