//! Memory of volumes comes back, though steps of decoding are recorded and their recordings live as long as the engine.
use engine_tests::golden::{self, Goldens};
use med2e3::{Engine, Error, LoadOptions, Request};
use med2e3_kernels::{Device, Emulation, Gpu, Plan};
use std::sync::Arc;

/// Volumes that are encoded and asked about, one after the other.
const VOLUMES: usize = 300;

/// After this many, the first volume is encoded again.
const CYCLE: usize = 64;

/// Every answer takes a step: the first one runs as it is, the second is recorded, all others are replayed. Volumes
/// take turns in the places that were allocated with the model, so no volume takes or loses memory.
#[test]
fn volumes_come_and_go() {
    if std::env::var_os("MED2E3_TEST_DEVICE").is_some_and(|name| name != "emulated") {
        return;
    }
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "c_score9").expect("listed");
    let model = goldens.model_folder(&case.model);
    let folder = med2e3_loaders::ModelFolder::open(model.path()).expect("a model");
    let options = LoadOptions::default();
    let plan = Engine::plan(Plan::gpu(), &folder, &options).expect("a model");
    let gpu = Arc::new(Gpu::emulated_with_memory(Emulation::default(), plan.total()));
    let engine = golden::load(gpu.clone(), model.path(), &case);
    let request = Request { forced: Some(vec![5, 9]), logprobs: 1, ..Request::new("?") };
    let mut voxels = goldens.volume(&case.model);
    let shift = voxels.len() / CYCLE;
    let mut first = None;
    for round in 0..VOLUMES {
        let volume = engine.encode(voxels.as_slice()).unwrap_or_else(|error| panic!("volume {round}: {error}"));
        let answer = engine.ask(&volume, request.clone());
        let logprobs = answer.unwrap_or_else(|error| panic!("volume {round}: {error}")).logprobs;
        assert_eq!(logprobs.len(), 2);
        assert_eq!(gpu.free_bytes(), Some(0), "volume {round}");
        if round % CYCLE == 0 {
            assert_eq!(*first.get_or_insert(logprobs.clone()), logprobs, "volume {round} is the first again");
        }
        voxels.rotate_left(shift);
    }
    let held: Vec<_> = (0..options.volumes)
        .map(|_| {
            voxels.rotate_left(shift);
            engine.encode(voxels.as_slice()).expect("a place is free")
        })
        .collect();
    voxels.rotate_left(shift);
    assert!(matches!(engine.encode(voxels.as_slice()), Err(Error::Busy { waiting: 0 })), "every place is kept");
    drop(held);
    engine.encode(voxels.as_slice()).expect("the places are free");
}
