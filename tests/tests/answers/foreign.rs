//! A volume belongs to the engine that encoded it.
use super::*;
use med2e3::Error;
use med2e3_kernels::{Emulation, Gpu};

/// Volumes of another load of the same folder, with the same options or others, of another model, and of another
/// device: each is refused before anything runs, alone and among others, which are answered.
#[test]
fn volumes_of_other_engines_are_refused() {
    let engine = exact("b_score15", 2);
    let own = encode(&engine, "b_score15");
    let want = facts(&ask(&engine, &own, &short(5)));
    let uniform = LoadOptions { tgis: TgisMode::Uniform, ..LoadOptions::default() };
    let others = [
        ("the same load", "b_score15", LoadOptions::default()),
        ("other options", "b_score15", uniform),
        ("3D only", "b_spatial", LoadOptions::default()),
        ("another model", "c_score9", LoadOptions::default()),
    ];
    let request = short(5);
    for (what, model, options) in others {
        let other = load(model, Arc::new(EXACT), &options);
        let foreign = encode(&other, model);
        let refused = engine.submit(&foreign, request.clone()).err();
        assert!(matches!(refused, Some(Error::Foreign)), "{what}: {refused:?}");
        assert!(matches!(other.submit(&own, request.clone()).err(), Some(Error::Foreign)));
        let results = together(&engine, &[&own, &foreign, &own].map(|volume| (volume, &request)));
        assert!(matches!(results[1], Err(Error::Foreign)), "{what}");
        for at in [0, 2] {
            assert_eq!(facts(results[at].as_ref().expect("its own")), want, "{what}");
        }
    }
    assert_eq!(facts(&ask(&engine, &own, &request)), want);
}

/// A volume in the host's memory on a GPU: the request's mistake by its type, no failure of the device.
#[test]
fn volumes_of_other_devices_are_refused() {
    let cpu = exact("a_score15", 1);
    let volume = encode(&cpu, "a_score15");
    let gpu = Arc::new(Gpu::emulated(Emulation::default()));
    let gpu = load("a_score15", gpu, &LoadOptions::default());
    assert!(matches!(gpu.ask(&volume, short(3)), Err(Error::Foreign)));
    let said = Error::Foreign.to_string();
    assert_eq!(said, "the volume was encoded by another engine; encode it with the engine that is asked");
}
