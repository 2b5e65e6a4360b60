//! The trunk of a patient without a lesion: a table of ellipsoids, ribs and discs. A schema, not anatomy.

use crate::case::{Case, Organ, Phase, Side};
use crate::draws::Draws;
use crate::painting::{Ellipsoid, Painting, THROUGH};
use crate::view::Point;

/// What a shape is filled with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tissue {
    /// The same HU in every phase.
    Plain(f32),
    /// Blood of the aorta and the left heart.
    Artery,
    /// Blood of veins and the right heart.
    Vein,
    /// The heart's wall.
    Heart,
    Liver,
    Spleen,
    /// The kidneys' outer part.
    Cortex,
    /// The kidneys' inner part, where urine gathers.
    Pelvis,
}

/// An organ's half, where the case may have its lesion.
pub(crate) type Owner = (Organ, Side);

/// A shape of the trunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Its place.
    pub shape: Ellipsoid,
    /// Its filling.
    pub tissue: Tissue,
    /// Whose it is.
    pub owner: Option<Owner>,
}

const fn part(centre: Point, radii: Point, tissue: Tissue) -> Part {
    Part { shape: Ellipsoid { centre, radii }, tissue, owner: None }
}

const fn plain(centre: Point, radii: Point, hu: f32) -> Part {
    part(centre, radii, Tissue::Plain(hu))
}

const fn owned(part: Part, organ: Organ, side: Side) -> Part {
    Part { owner: Some((organ, side)), ..part }
}

use Organ::{Kidney, Liver, Lung, Spleen};
use Side::{Left, Right};

/// Fat under the skin, muscle, and the fat around the organs of the abdomen. The first reaches out of the box a little,
/// so that the box's every face shows some of it.
const TRUNK: [Part; 3] = [
    plain([0.0, 0.0, 0.0], [THROUGH, 1.03, 1.03], -105.0),
    plain([0.0, 0.0, 0.0], [THROUGH, 0.88, 0.91], 55.0),
    plain([0.74, -0.05, 0.0], [0.95, 0.68, 0.77], -95.0),
];

/// The lungs, first of the organs: an effusion is painted after them and under all others.
const LUNGS: [Part; 2] = [
    owned(plain([-0.46, 0.03, -0.45], [0.80, 0.68, 0.37], -850.0), Lung, Right),
    owned(plain([-0.46, 0.03, 0.46], [0.80, 0.68, 0.35], -855.0), Lung, Left),
];

/// The rest in painting order. Kidneys and spleen are larger than life, so that a lesion leaves something of them.
const ORGANS: [Part; 26] = [
    plain([-0.60, 0.03, 0.0], [0.68, 0.59, 0.145], -40.0), // mediastinum
    plain([-0.84, 0.09, 0.0], [0.34, 0.075, 0.055], -990.0), // trachea
    part([-0.68, -0.24, -0.055], [0.20, 0.12, 0.09], Tissue::Artery), // ascending aorta
    part([-0.66, -0.09, -0.155], [0.32, 0.075, 0.055], Tissue::Vein), // superior vena cava
    part([-0.72, 0.06, 0.08], [0.09, 0.35, 0.09], Tissue::Artery), // aortic arch
    part([-0.52, -0.15, 0.09], [0.14, 0.13, 0.12], Tissue::Vein), // pulmonary trunk
    part([-0.22, -0.18, 0.16], [0.30, 0.43, 0.33], Tissue::Heart),
    part([-0.20, -0.18, 0.22], [0.18, 0.22, 0.17], Tissue::Artery), // left ventricle
    part([-0.24, -0.29, -0.04], [0.16, 0.19, 0.11], Tissue::Vein),  // right ventricle
    owned(part([0.24, -0.03, -0.42], [0.44, 0.66, 0.44], Tissue::Liver), Liver, Right),
    part([0.16, -0.35, -0.03], [0.24, 0.27, 0.36], Tissue::Liver), // its left lobe, in which no lesion is put
    part([0.24, 0.09, -0.20], [0.10, 0.075, 0.12], Tissue::Vein),  // portal vein
    plain([0.18, -0.24, 0.38], [0.26, 0.38, 0.26], 30.0),          // stomach
    plain([0.18, -0.42, 0.38], [0.15, 0.14, 0.17], -930.0),        // gas in it
    owned(part([0.26, 0.32, 0.58], [0.30, 0.36, 0.20], Tissue::Spleen), Spleen, Left),
    plain([0.44, 0.03, 0.13], [0.07, 0.10, 0.29], 75.0), // pancreas
    owned(part([0.64, 0.40, -0.40], [0.30, 0.26, 0.19], Tissue::Cortex), Kidney, Right),
    owned(part([0.64, 0.38, -0.31], [0.12, 0.08, 0.07], Tissue::Pelvis), Kidney, Right),
    owned(part([0.60, 0.40, 0.40], [0.30, 0.26, 0.19], Tissue::Cortex), Kidney, Left),
    owned(part([0.60, 0.38, 0.31], [0.12, 0.08, 0.07], Tissue::Pelvis), Kidney, Left),
    plain([0.80, -0.35, 0.54], [0.40, 0.17, 0.13], 25.0), // descending colon
    plain([0.80, -0.37, 0.54], [0.34, 0.09, 0.07], -900.0), // gas in it
    plain([0.90, -0.36, -0.50], [0.26, 0.17, 0.14], 35.0), // ascending colon
    plain([0.84, -0.34, 0.08], [0.20, 0.18, 0.30], 35.0), // small bowel
    part([0.48, 0.38, 0.07], [1.24, 0.09, 0.065], Tissue::Artery), // descending aorta
    part([0.72, 0.32, -0.12], [0.72, 0.08, 0.072], Tissue::Vein), // inferior vena cava
];

/// Sternum, cortex and marrow of the vertebrae, the canal and the process behind it.
const BONES: [Part; 6] = [
    plain([-0.48, -0.83, 0.0], [0.52, 0.045, 0.11], 420.0),
    plain([0.0, 0.80, 0.0], [THROUGH, 0.07, 0.20], 300.0),
    plain([0.0, 0.84, 0.0], [THROUGH, 0.09, 0.028], 450.0),
    plain([0.0, 0.60, 0.0], [THROUGH, 0.175, 0.15], 620.0),
    plain([0.0, 0.60, 0.0], [THROUGH, 0.145, 0.125], 250.0),
    plain([0.0, 0.79, 0.0], [THROUGH, 0.06, 0.055], 30.0),
];

/// Discs between the vertebrae within the box.
const DISCS: usize = 13;
const RIB_HU: f32 = 560.0;
/// Below it there are no ribs.
const RIBS_Z_MAX: f32 = 0.44;

impl Tissue {
    /// HU in a phase, exaggerated a little where phases would be hard to tell apart in a small picture.
    fn hu(self, phase: Phase) -> f32 {
        let column = match phase {
            Phase::NonContrast => 0,
            Phase::Arterial => 1,
            Phase::PortalVenous => 2,
            Phase::Delayed => 3,
        };
        match self {
            Self::Plain(hu) => hu,
            Self::Artery => [40.0, 290.0, 150.0, 90.0][column],
            Self::Vein => [40.0, 60.0, 190.0, 95.0][column],
            Self::Heart => [45.0, 105.0, 100.0, 75.0][column],
            Self::Liver => [62.0, 72.0, 120.0, 88.0][column],
            Self::Spleen => [50.0, 110.0, 125.0, 85.0][column],
            Self::Cortex => [35.0, 170.0, 165.0, 120.0][column],
            Self::Pelvis => [10.0, 110.0, 120.0, 200.0][column],
        }
    }
}

/// A patient's own sizes, places and intensities.
pub(crate) struct Anatomy {
    lungs: Vec<(Part, f32)>,
    organs: Vec<(Part, f32)>,
}

impl Anatomy {
    /// Varies the tables by a few per cent.
    pub(crate) fn new(case: &Case, draws: &mut Draws) -> Self {
        let shift = 0.03 * draws.about(1.0);
        let mut vary = |part: &Part| {
            let mut part = *part;
            let size = 1.0 + 0.05 * draws.about(1.0);
            for axis in 0..3 {
                part.shape.centre[axis] += 0.015 * draws.about(1.0);
                part.shape.radii[axis] *= size;
            }
            part.shape.centre[0] += shift;
            (part, part.tissue.hu(case.phase) + draws.about(6.0))
        };
        let lungs = LUNGS.iter().map(&mut vary).collect();
        let organs = ORGANS.iter().map(&mut vary).collect();
        Self { lungs, organs }
    }

    /// Body and lungs.
    pub(crate) fn paint_trunk(&self, painting: &mut Painting) {
        let trunk = TRUNK.iter().map(|part| (part, part.tissue.hu(Phase::NonContrast)));
        trunk.for_each(|(part, hu)| painting.paint(part.shape, hu));
        self.lungs.iter().for_each(|(part, hu)| painting.paint(part.shape, *hu));
    }

    /// All that lies over the lungs.
    pub(crate) fn paint_organs(&self, painting: &mut Painting) {
        self.organs.iter().for_each(|(part, hu)| painting.paint(part.shape, *hu));
        BONES.iter().for_each(|part| painting.paint(part.shape, part.tissue.hu(Phase::NonContrast)));
        for disc in 0..DISCS {
            let z = (2 * disc + 1) as f32 / DISCS as f32 - 1.0;
            painting.paint(Ellipsoid { centre: [z, 0.60, 0.0], radii: [0.026, 0.16, 0.135] }, 85.0);
        }
        painting.paint_above(RIBS_Z_MAX, RIB_HU, rib);
    }

    /// The main shape of an organ's half, with its HU.
    pub(crate) fn organ(&self, owner: Owner) -> (Ellipsoid, f32) {
        let found = self.parts().find(|(part, _)| part.owner == Some(owner));
        let (part, hu) = found.expect("every owner that a case names is in the tables");
        (part.shape, *hu)
    }

    /// Whose tissue is seen at a point.
    pub(crate) fn owner(&self, at: Point) -> Option<Owner> {
        let top = self.parts().rev().find(|(part, _)| part.shape.form(at) < 1.0);
        top.and_then(|(part, _)| part.owner)
    }

    /// In painting order.
    fn parts(&self) -> impl DoubleEndedIterator<Item = &(Part, f32)> {
        self.lungs.iter().chain(&self.organs)
    }
}

/// How much rib there is: bone in a shell around the chest, in oblique stripes, so that a slice cuts each rib once.
fn rib([z, y, x]: Point) -> f32 {
    let form = (y / 0.80) * (y / 0.80) + (x / 0.85) * (x / 0.85);
    let in_shell = 1.0 - (form - 1.0).abs() * 10.0;
    if in_shell <= 0.0 {
        return 0.0;
    }
    let turn = z * 4.5 + y * 2.3 + 16.0;
    let in_stripe = (1.6 - (turn - turn.floor() - 0.5).abs() * 5.0).clamp(0.0, 1.0);
    let fade = ((RIBS_Z_MAX - z) * 6.0).min(1.0);
    (in_shell * 2.0).min(1.0) * in_stripe * fade
}
