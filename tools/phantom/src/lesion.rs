//! Lesions: larger than life, so that the smallest is some five voxels wide in a volume of 32 x 64 x 64.

use crate::anatomy::Anatomy;
use crate::case::{Finding, Lesion, Organ};
use crate::draws::Draws;
use crate::painting::{Ellipsoid, Painting};
use crate::view::Point;

/// Places tried before the best of them is taken.
const ATTEMPTS: usize = 48;
/// HU of the fluid in the pleural space.
const EFFUSION_HU: f32 = 5.0;

/// Fluid at the back and bottom of the pleural space: where the lung was, without the lung, which floats up and
/// forward.
pub(crate) fn paint_effusion(painting: &mut Painting, anatomy: &Anatomy, finding: Finding, draws: &mut Draws) {
    let (space, _) = anatomy.organ((Organ::Lung, finding.side));
    let mut lung = space;
    lung.centre[0] -= draws.between(0.28, 0.44);
    lung.centre[1] -= draws.between(0.26, 0.42);
    let radii = space.radii.map(|radius| radius * 1.06);
    painting.paint_lesion(Ellipsoid { radii, ..space }, Some(lung), EFFUSION_HU + draws.about(8.0));
}

/// A lesion of flesh, on top of everything.
pub(crate) fn paint_solid(painting: &mut Painting, anatomy: &Anatomy, finding: Finding, draws: &mut Draws) {
    let half_mm = painting.view.half_mm;
    let in_lung = finding.organ == Organ::Lung;
    let (_, organ_hu) = anatomy.organ((finding.organ, finding.side));
    let ball = |centre: Point, mm: f32| Ellipsoid { centre, radii: half_mm.map(|half| mm / half) };
    match finding.lesion {
        Lesion::Nodule => {
            let mm = draws.between(14.0, 18.0);
            let centre = place(anatomy, finding, mm, half_mm, draws);
            painting.paint_lesion(ball(centre, mm), None, if in_lung { 40.0 } else { organ_hu - 95.0 });
        }
        Lesion::Calcification => {
            let mm = draws.between(14.0, 17.0);
            let centre = place(anatomy, finding, mm, half_mm, draws);
            painting.paint_lesion(ball(centre, mm), None, 900.0);
        }
        Lesion::Cyst => {
            let mm = draws.between(25.0, 31.0);
            let centre = place(anatomy, finding, mm, half_mm, draws);
            painting.paint_lesion(ball(centre, mm), None, 230.0);
            painting.paint_lesion(ball(centre, mm - 7.0), None, -10.0);
        }
        Lesion::Mass => {
            let mm = draws.between(18.0, 22.0);
            let middle = place(anatomy, finding, 1.4 * mm, half_mm, draws);
            let base = if in_lung { 60.0 } else { organ_hu + 55.0 };
            for lobe in [0.0, 25.0, 50.0] {
                let offset = draws.in_ball().map(|offset| 0.6 * mm * offset);
                let centre = [0, 1, 2].map(|axis| middle[axis] + offset[axis] / half_mm[axis]);
                painting.paint_lesion(ball(centre, mm * (1.0 + draws.about(0.1))), None, base + lobe);
            }
        }
        Lesion::Effusion => paint_effusion(painting, anatomy, finding, draws),
    }
}

/// A centre from which a ball of `mm` lies within the organ's visible part as well as can be.
fn place(anatomy: &Anatomy, finding: Finding, mm: f32, half_mm: Point, draws: &mut Draws) -> Point {
    let owner = (finding.organ, finding.side);
    let (shape, _) = anatomy.organ(owner);
    let free = [0, 1, 2].map(|axis| (shape.radii[axis] - 0.6 * mm / half_mm[axis]).max(0.0));
    let visible = |centre: Point| {
        let probes = [0, 1, 2].into_iter().flat_map(|axis| [(axis, 0.0), (axis, -0.8), (axis, 0.8)]);
        let inside = probes.filter(|&(axis, part)| {
            let mut at = centre;
            at[axis] += part * mm / half_mm[axis];
            anatomy.owner(at) == Some(owner)
        });
        inside.count()
    };
    let mut best = (0, shape.centre);
    for _ in 0..ATTEMPTS {
        let offset = draws.in_ball();
        let mut centre = [0, 1, 2].map(|axis| shape.centre[axis] + free[axis] * offset[axis]);
        // The lungs reach out of the box above, the lesion must not.
        centre[0] = centre[0].max(1.2 * mm / half_mm[0] - 1.0);
        let seen = visible(centre);
        if seen > best.0 {
            best = (seen, centre);
        }
        if seen == 9 {
            break;
        }
    }
    best.1
}
