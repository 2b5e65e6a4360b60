//! The device's preprocessing against the loaders', which agrees with MONAI: an op cannot import the loaders.
use med2e3_kernels::ops::{Intensity, PreprocessVolume};
use med2e3_kernels::{Cpu, DType, Device, Emulation, Gpu, Precision};
use med2e3_loaders::preprocess::prepare;
use med2e3_loaders::volume::{RawVolume, VolumeInfo, VolumeKind, VolumeOptions, Window, WindowChoice};

/// A sloping background at -1000 and an ellipsoid of waves in it, so that neither a box nor a mean is trivial.
fn phantom([slices, rows, columns]: [usize; 3]) -> Vec<f32> {
    let place = |index: usize, size: usize| (2 * index + 1) as f64 / size as f64 - 1.0;
    let mut voxels = Vec::with_capacity(slices * rows * columns);
    for (n, y, x) in (0..slices).flat_map(|n| (0..rows).flat_map(move |y| (0..columns).map(move |x| (n, y, x)))) {
        let [a, b, c] = [place(n, slices) - 0.1, place(y, rows) + 0.05, place(x, columns)];
        let is_inside = a * a / 0.9 + b * b / 0.4 + c * c / 0.6 < 1.0;
        let wave = 400.0 * (9.0 * a).sin() + 300.0 * (13.0 * b).cos() * (7.0 * c).sin() + 100.0;
        voxels.push(if is_inside { wave as f32 } else { -1000.0 });
    }
    voxels
}

fn raw(voxels: Vec<f32>, dims: [usize; 3], kind: VolumeKind) -> RawVolume {
    RawVolume { voxels, dims, kind, info: VolumeInfo::default() }
}

fn on_device(
    device: &dyn Device,
    raw: &RawVolume,
    intensity: Intensity,
    size: [usize; 3],
) -> med2e3_kernels::Result<(Vec<u32>, Vec<f32>)> {
    let mut volume = device.tensor(&raw.dims, DType::F32)?;
    device.write(&mut volume, &raw.voxels)?;
    let (mut crop, mut out) = (device.tensor(&[6], DType::U32)?, device.tensor(&size, DType::F32)?);
    let op = PreprocessVolume { volume: volume.view(), intensity, crop: crop.view_mut(), out: out.view_mut() };
    device.preprocess_volume(op)?;
    Ok((device.read_u32(crop.view())?, device.read(out.view())?))
}

#[test]
fn devices_prepare_volumes_as_the_loaders_do() {
    let devices: [Box<dyn Device>; 2] =
        [Box::new(Cpu { precision: Precision::Exact }), Box::new(Gpu::emulated(Emulation::default()))];
    for (dims, size, window) in [
        ([40, 90, 70], [8, 32, 32], None),
        ([12, 33, 47], [16, 24, 20], Some([-160.0, 240.0])),
        ([5, 64, 64], [32, 32, 32], Some([-1e6, 300.0])),
        ([1, 17, 130], [4, 16, 16], None),
    ] {
        for kind in [VolumeKind::Intensity, VolumeKind::Prepared] {
            let mut voxels = phantom(dims);
            let intensity = match (kind, window) {
                (VolumeKind::Prepared, _) => {
                    voxels.iter_mut().for_each(|voxel| *voxel = (*voxel / 1000.0).max(0.0));
                    Intensity::Prepared
                }
                (VolumeKind::Intensity, Some(window)) => Intensity::Window(window),
                (VolumeKind::Intensity, None) => Intensity::MinMax,
            };
            let raw = raw(voxels, dims, kind);
            let window =
                window.map_or(WindowChoice::Full, |[lo, hi]| WindowChoice::Given(Window::new(lo, hi).expect("rising")));
            let options = VolumeOptions { window, ..VolumeOptions::default() };
            let want = prepare(&raw, size, &options).expect("a phantom");
            let want_crop: Vec<u32> = want.crop.as_flattened().iter().map(|&bound| bound as u32).collect();
            for device in &devices {
                let (crop, got) = on_device(&**device, &raw, intensity, size).expect("valid");
                assert_eq!(crop, want_crop, "{dims:?} on {}", device.describe());
                let worst = got.iter().zip(&want.voxels).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(worst <= 1e-5, "{dims:?} to {size:?} on {}: {worst:e}", device.describe());
            }
        }
    }
}
