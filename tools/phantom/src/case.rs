//! What a patient has and how the scan shows it: the truth, before a voxel is painted.

use std::fmt;

use crate::draws::{Draws, Purpose};

/// How a volume is cut into slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Slices from the head down.
    Axial,
    /// Slices from the front back.
    Coronal,
    /// Slices from the patient's right to the left.
    Sagittal,
    /// Half-way between coronal and axial: columns run from the patient's right, so the side stays readable.
    Oblique,
}

/// Where the contrast agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// None was given.
    NonContrast,
    /// Arteries and the kidneys' cortex are bright.
    Arterial,
    /// Veins, liver and spleen are bright.
    PortalVenous,
    /// The kidneys' pelvis is bright.
    Delayed,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesion {
    /// Small, solid, round.
    Nodule,
    /// Large, solid, brighter than its organ, of several lobes.
    Mass,
    /// Large, watery, with a bright wall.
    Cyst,
    /// Small and as bright as bone.
    Calcification,
    /// Fluid behind the lung.
    Effusion,
}

/// Where something can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Organ {
    /// Either side.
    Lung,
    /// Either side; it has effusions and nothing else.
    Pleura,
    /// On the right.
    Liver,
    /// On the left.
    Spleen,
    /// Either side.
    Kidney,
}

/// The patient's, not the picture's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Columns before the middle, in all planes but the sagittal.
    Right,
    /// Columns after it.
    Left,
}

/// Part of the trunk, as location questions ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its half.
    pub side: Side,
    /// Above or below the diaphragm.
    pub in_chest: bool,
}

/// A lesion and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub lesion: Lesion,
    /// In which organ.
    pub organ: Organ,
    /// On which side.
    pub side: Side,
}

/// A patient and the scan's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Decides everything else.
    pub seed: u64,
    /// How the volume is cut.
    pub plane: Plane,
    /// Where the contrast agent is.
    pub phase: Phase,
    /// What is wrong, if anything.
    pub finding: Option<Finding>,
}

impl Plane {
    /// In the order of M3D's choices.
    pub const ALL: [Self; 4] = [Self::Axial, Self::Coronal, Self::Sagittal, Self::Oblique];
}

impl Phase {
    /// In the order of time.
    pub const ALL: [Self; 4] = [Self::NonContrast, Self::Arterial, Self::PortalVenous, Self::Delayed];
}

impl Lesion {
    /// What organs of flesh can have.
    const SOLID: [Self; 4] = [Self::Nodule, Self::Mass, Self::Cyst, Self::Calcification];
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nodule, Self::Mass, Self::Cyst, Self::Calcification, Self::Effusion];
}

impl Organ {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lung, Self::Pleura, Self::Liver, Self::Spleen, Self::Kidney];

    /// Whether it lies above the diaphragm.
    pub fn is_in_chest(self) -> bool {
        matches!(self, Self::Lung | Self::Pleura)
    }
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self { side: Side::Right, in_chest: true },
        Self { side: Side::Left, in_chest: true },
        Self { side: Side::Right, in_chest: false },
        Self { side: Side::Left, in_chest: false },
    ];
}

impl Finding {
    /// Where it is.
    pub fn place(self) -> Place {
        Place { side: self.side, in_chest: self.organ.is_in_chest() }
    }
}

impl Case {
    /// The case of a seed.
    ///
    /// One patient in five has no lesion. Of the others, a quarter have it in each place, so that places are balanced;
    /// the place decides the organ (lung or pleura in the chest, kidney or the liver or spleen of that side below it),
    /// and the organ the lesion: effusion in the pleura, elsewhere one of the four others. No organ, place or lesion is
    /// then the answer in more than a quarter of the cases, which balanced choices need.
    pub fn new(seed: u64) -> Self {
        let mut draws = Draws::new(seed, Purpose::Case);
        let plane = draws.pick(&Plane::ALL);
        let phase = draws.pick(&Phase::ALL);
        let finding = (draws.index(5) > 0).then(|| {
            let Place { side, in_chest } = draws.pick(&Place::ALL);
            let organ = draws.pick(match (in_chest, side) {
                (true, _) => &[Organ::Lung, Organ::Pleura],
                (false, Side::Right) => &[Organ::Liver, Organ::Kidney],
                (false, Side::Left) => &[Organ::Spleen, Organ::Kidney],
            });
            let lesion = if organ == Organ::Pleura { Lesion::Effusion } else { draws.pick(&Lesion::SOLID) };
            Finding { lesion, organ, side }
        });
        Self { seed, plane, phase, finding }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Axial => "Axial",
            Self::Coronal => "Coronal",
            Self::Sagittal => "Sagittal",
            Self::Oblique => "Oblique",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonContrast => "Non-contrast",
            Self::Arterial => "Arterial",
            Self::PortalVenous => "Portal venous",
            Self::Delayed => "Delayed",
        })
    }
}

impl fmt::Display for Lesion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nodule => "Nodule",
            Self::Mass => "Mass",
            Self::Cyst => "Cyst",
            Self::Calcification => "Calcification",
            Self::Effusion => "Effusion",
        })
    }
}

impl fmt::Display for Organ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lung => "Lung",
            Self::Pleura => "Pleura",
            Self::Liver => "Liver",
            Self::Spleen => "Spleen",
            Self::Kidney => "Kidney",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Right => "Right",
            Self::Left => "Left",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.side, if self.in_chest { "chest" } else { "abdomen" })
    }
}
