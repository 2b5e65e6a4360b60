//! A synthetic CT of a torso: something to ask about where no scan is at hand.
//!
//! The shapes are crude and no finding in them means anything. Only additions, products, quotients and rounding are
//! used, no function whose last bit differs between machines, so a seed gives the same volume everywhere.

/// HU of air, in which everything lies.
const AIR: f32 = -1000.0;
/// Standard deviation of the noise, HU.
const NOISE_HU: f32 = 14.0;
/// Radius of a shape that runs through all slices.
const THROUGH: f32 = 1e3;

/// A shape painted over what was there before.
///
/// Positions are fractions: z from 0 (superior) to 1, y from -1 (anterior) to 1, x from -1 (patient's right) to 1.
#[derive(Clone, Copy)]
struct Ellipsoid {
    /// z, y, x.
    centre: [f32; 3],
    /// z, y, x.
    radii: [f32; 3],
    hu: f32,
}

const fn organ(centre: [f32; 3], radii: [f32; 3], hu: f32) -> Ellipsoid {
    Ellipsoid { centre, radii, hu }
}

/// Skin fat, muscle, and the fat around the organs.
const TRUNK: [Ellipsoid; 3] = [
    organ([0.5, 0.0, 0.0], [THROUGH, 0.68, 0.90], -105.0),
    organ([0.5, 0.0, 0.0], [THROUGH, 0.60, 0.82], 55.0),
    organ([0.86, -0.04, 0.0], [0.46, 0.46, 0.69], -95.0),
];

/// In painting order. Contrast as in the portal venous phase.
const ORGANS: [Ellipsoid; 33] = [
    organ([0.27, 0.02, -0.40], [0.40, 0.46, 0.33], -850.0), // right lung
    organ([0.27, 0.02, 0.42], [0.40, 0.46, 0.31], -855.0),  // left lung
    organ([0.20, 0.02, 0.0], [0.34, 0.40, 0.13], -40.0),    // mediastinum
    organ([0.08, 0.06, 0.0], [0.17, 0.05, 0.05], -990.0),   // trachea
    organ([0.16, -0.16, -0.05], [0.10, 0.08, 0.08], 165.0), // ascending aorta
    organ([0.17, -0.06, -0.14], [0.16, 0.05, 0.05], 150.0), // superior vena cava
    organ([0.14, 0.04, 0.07], [0.045, 0.24, 0.08], 165.0),  // aortic arch
    organ([0.24, -0.10, 0.08], [0.07, 0.09, 0.11], 150.0),  // pulmonary trunk
    organ([0.39, -0.12, 0.14], [0.15, 0.29, 0.30], 95.0),   // heart
    organ([0.40, -0.12, 0.20], [0.09, 0.15, 0.15], 150.0),  // left ventricle
    organ([0.38, -0.20, -0.04], [0.08, 0.13, 0.10], 145.0), // right ventricle
    organ([0.62, -0.02, -0.36], [0.21, 0.45, 0.40], 112.0), // liver, right lobe
    organ([0.58, -0.24, -0.02], [0.12, 0.18, 0.34], 112.0), // liver, left lobe
    organ([0.70, -0.30, -0.30], [0.07, 0.08, 0.07], 12.0),  // gall bladder
    organ([0.62, 0.06, -0.22], [0.05, 0.05, 0.12], 165.0),  // portal vein
    organ([0.60, -0.14, 0.34], [0.12, 0.24, 0.22], 30.0),   // stomach
    organ([0.60, -0.27, 0.34], [0.07, 0.09, 0.14], -930.0), // gas in it
    organ([0.62, 0.22, 0.55], [0.13, 0.20, 0.12], 128.0),   // spleen
    organ([0.73, 0.02, 0.12], [0.035, 0.07, 0.28], 85.0),   // pancreas
    organ([0.82, 0.28, -0.32], [0.14, 0.13, 0.12], 185.0),  // right kidney
    organ([0.82, 0.26, -0.26], [0.06, 0.05, 0.05], -20.0),  // its pelvis
    organ([0.79, 0.28, 0.34], [0.14, 0.13, 0.12], 185.0),   // left kidney
    organ([0.79, 0.26, 0.28], [0.06, 0.05, 0.05], -20.0),   // its pelvis
    organ([0.90, -0.22, 0.48], [0.22, 0.12, 0.11], 25.0),   // descending colon
    organ([0.90, -0.24, 0.48], [0.18, 0.06, 0.06], -900.0), // gas in it
    organ([0.96, -0.24, -0.44], [0.16, 0.12, 0.12], 35.0),  // ascending colon
    organ([0.88, -0.26, 0.16], [0.10, 0.11, 0.20], 30.0),   // small bowel
    organ([0.93, -0.06, -0.12], [0.09, 0.10, 0.18], 40.0),  // small bowel
    organ([0.97, -0.28, -0.10], [0.08, 0.09, 0.20], 30.0),  // small bowel
    organ([0.99, -0.04, 0.24], [0.10, 0.12, 0.14], 45.0),   // small bowel
    organ([0.74, 0.26, 0.06], [0.62, 0.062, 0.058], 165.0), // descending aorta
    organ([0.86, 0.22, -0.11], [0.36, 0.055, 0.065], 130.0), // inferior vena cava
    organ([0.26, -0.575, 0.0], [0.26, 0.03, 0.10], 380.0),  // sternum
];

/// Cortex, marrow, canal, and the process behind it.
const SPINE: [Ellipsoid; 5] = [
    organ([0.5, 0.56, 0.0], [THROUGH, 0.05, 0.20], 260.0),
    organ([0.5, 0.58, 0.0], [THROUGH, 0.07, 0.025], 420.0),
    organ([0.5, 0.40, 0.0], [THROUGH, 0.125, 0.135], 600.0),
    organ([0.5, 0.40, 0.0], [THROUGH, 0.105, 0.115], 220.0),
    organ([0.5, 0.545, 0.0], [THROUGH, 0.05, 0.055], 30.0),
];

/// A torso in HU: `dims` slices (superior first) by rows (anterior first) by columns (the patient's right first).
///
/// The seed varies sizes and positions by a few per cent, the noise, and whether there is a lesion and where.
pub fn phantom(seed: u64, dims: [usize; 3]) -> Vec<f32> {
    let mut canvas = Canvas { dims, voxels: vec![AIR; dims.iter().product()] };
    let mut draws = Draws { state: mix(seed) };
    let girth = 1.0 + 0.06 * draws.signed();
    let sized = |mut shape: Ellipsoid| {
        for axis in [1, 2] {
            shape.centre[axis] *= girth;
            shape.radii[axis] *= girth;
        }
        shape
    };
    TRUNK.iter().for_each(|shape| canvas.paint(sized(*shape)));
    for organ in ORGANS {
        let scale = 1.0 + 0.05 * draws.signed();
        let centre = organ.centre.map(|at| at + 0.012 * draws.signed());
        canvas.paint(sized(Ellipsoid { centre, radii: organ.radii.map(|radius| radius * scale), ..organ }));
    }
    if let Some(lesion) = lesion(&mut draws) {
        canvas.paint(sized(lesion));
    }
    SPINE.iter().for_each(|shape| canvas.paint(sized(*shape)));
    canvas.add_ribs(girth);
    canvas.add_discs(girth);
    canvas.add_noise(mix(seed ^ 0x006e_6f69_7365));
    canvas.voxels
}

/// Half of the patients have one: a dark spot in the liver or a nodule in the right lung.
fn lesion(draws: &mut Draws) -> Option<Ellipsoid> {
    let size = 0.06 + 0.03 * draws.signed();
    let [z, y, x] = [draws.signed(), draws.signed(), draws.signed()];
    let radii = [size * 0.6, size, size];
    match draws.next() % 4 {
        0 => Some(organ([0.62 + 0.06 * z, -0.02 + 0.16 * y, -0.38 + 0.14 * x], radii, 45.0)),
        1 => Some(organ([0.24 + 0.12 * z, 0.02 + 0.20 * y, -0.42 + 0.12 * x], radii, 25.0)),
        _ => None,
    }
}

struct Canvas {
    dims: [usize; 3],
    voxels: Vec<f32>,
}

impl Canvas {
    /// The middle of voxel `index` along `axis`, in the units of [`Ellipsoid`].
    fn position(&self, axis: usize, index: usize) -> f32 {
        let fraction = (index as f32 + 0.5) / self.dims[axis] as f32;
        if axis == 0 { fraction } else { 2.0 * fraction - 1.0 }
    }

    /// The indices along `axis` that may lie within `radius` of `centre`.
    fn span(&self, axis: usize, centre: f32, radius: f32) -> std::ops::Range<usize> {
        let size = self.dims[axis] as f32;
        let to_index = |at: f32| if axis == 0 { at * size } else { (at + 1.0) * 0.5 * size };
        let first = (to_index(centre - radius) - 2.0).clamp(0.0, size);
        let last = (to_index(centre + radius) + 2.0).clamp(0.0, size);
        first as usize..last as usize
    }

    /// Blends a shape in; its edge is about two voxels of the slice wide, as a scanner's is.
    fn paint(&mut self, shape: Ellipsoid) {
        let Ellipsoid { centre, radii, hu } = shape;
        let [_, rows, columns] = self.dims;
        let steepness = radii[1].min(radii[2]) * columns.max(rows) as f32 / 8.0;
        let part = |at: f32, axis: usize| {
            let offset = (at - centre[axis]) / radii[axis];
            offset * offset
        };
        for slice in self.span(0, centre[0], radii[0]) {
            let from_z = part(self.position(0, slice), 0);
            for row in self.span(1, centre[1], radii[1]) {
                let from_y = from_z + part(self.position(1, row), 1);
                for column in self.span(2, centre[2], radii[2]) {
                    let distance = from_y + part(self.position(2, column), 2);
                    let weight = ((1.0 - distance) * steepness + 0.5).clamp(0.0, 1.0);
                    let voxel = &mut self.voxels[(slice * rows + row) * columns + column];
                    *voxel += weight * (hu - *voxel);
                }
            }
        }
    }

    /// Bone in a shell around the chest, in oblique stripes, so that a slice cuts each rib once.
    fn add_ribs(&mut self, girth: f32) {
        let [slices, rows, columns] = self.dims;
        for slice in 0..slices {
            let z = self.position(0, slice);
            let fade = ((0.72 - z) * 12.0).clamp(0.0, 1.0);
            for row in self.span(1, 0.0, 0.58 * girth) {
                let y = self.position(1, row) / girth;
                for column in self.span(2, 0.0, 0.80 * girth) {
                    let x = self.position(2, column) / girth;
                    let distance = (y / 0.545) * (y / 0.545) + (x / 0.765) * (x / 0.765);
                    let in_shell = 1.0 - (distance - 1.0).abs() * 11.0;
                    if in_shell > 0.0 {
                        let turn = z * 9.0 + y * 3.4;
                        let in_stripe = (1.6 - (turn - turn.floor() - 0.5).abs() * 5.0).clamp(0.0, 1.0);
                        let weight = (in_shell * 2.0).min(1.0) * in_stripe * fade;
                        let voxel = &mut self.voxels[(slice * rows + row) * columns + column];
                        *voxel += weight * (520.0 - *voxel);
                    }
                }
            }
        }
    }

    /// Between the vertebrae.
    fn add_discs(&mut self, girth: f32) {
        for disc in 0..13 {
            let z = (disc as f32 + 0.5) / 13.0;
            self.paint(organ([z, 0.40 * girth, 0.0], [0.014, 0.115 * girth, 0.125 * girth], 85.0));
        }
    }

    /// Noise from four bytes of a hash of the voxel's index, near enough to a normal distribution; then whole HU.
    fn add_noise(&mut self, seed: u64) {
        for (index, voxel) in self.voxels.iter_mut().enumerate() {
            let [a, b, c, d, ..] = mix(seed ^ index as u64).to_le_bytes();
            let sum = i32::from(a) + i32::from(b) + i32::from(c) + i32::from(d) - 510;
            // The sum of four even bytes has a standard deviation of 147.8.
            *voxel = (*voxel + sum as f32 * (NOISE_HU / 147.8)).round().max(-1024.0);
        }
    }
}

/// Numbers drawn one after the other.
struct Draws {
    state: u64,
}

impl Draws {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// In -1..1.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of the value.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMS: [usize; 3] = [32, 128, 128];

    /// FNV-1a over the voxels as whole HU.
    fn digest(voxels: &[f32]) -> u64 {
        let bytes = voxels.iter().flat_map(|&voxel| (voxel as i16).to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Mean HU of one half of one slice: the patient's right or left.
    fn half(voxels: &[f32], slice: usize, is_left: bool) -> f32 {
        let [_, rows, columns] = DIMS;
        let rows = voxels[slice * rows * columns..][..rows * columns].chunks(columns);
        let side: Vec<f32> =
            rows.flat_map(|row| &row[usize::from(is_left) * columns / 2..][..columns / 2]).copied().collect();
        side.iter().sum::<f32>() / side.len() as f32
    }

    #[test]
    fn holds_air_and_bone_in_whole_hounsfield_units() {
        for seed in 0..8 {
            let voxels = phantom(seed, DIMS);
            assert_eq!(voxels.len(), DIMS.iter().product::<usize>());
            assert!(
                voxels.iter().all(|voxel| voxel.fract() == 0.0 && (-1024.0..=1500.0).contains(voxel)),
                "seed {seed}"
            );
            let share = |test: fn(f32) -> bool| {
                voxels.iter().filter(|&&voxel| test(voxel)).count() as f32 / voxels.len() as f32
            };
            assert!((0.3..0.8).contains(&share(|hu| hu < -700.0)), "seed {seed}: air and lung");
            assert!((0.1..0.6).contains(&share(|hu| (-150.0..250.0).contains(&hu))), "seed {seed}: soft tissue");
            assert!((0.003..0.1).contains(&share(|hu| hu > 300.0)), "seed {seed}: bone");
        }
    }

    #[test]
    fn liver_lies_on_the_right_below_the_lungs() {
        for seed in 0..8 {
            let voxels = phantom(seed, DIMS);
            let liver = 20;
            assert!(half(&voxels, liver, false) > half(&voxels, liver, true) + 20.0, "seed {seed}");
            let lungs = 7;
            assert!(half(&voxels, liver, false) > half(&voxels, lungs, false) + 150.0, "seed {seed}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_volume_on_every_machine() {
        assert_eq!(digest(&phantom(1, DIMS)), 0x8d43_7300_9103_9e48, "the volume of seed 1 changed");
        assert_ne!(digest(&phantom(2, DIMS)), digest(&phantom(1, DIMS)));
    }

    #[test]
    fn any_size_is_painted() {
        for dims in [[1, 1, 1], [2, 3, 5], [16, 32, 48]] {
            assert_eq!(phantom(3, dims).len(), dims.iter().product::<usize>());
        }
    }
}
