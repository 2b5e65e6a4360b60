//! Where a stack and its slices come from.

use super::super::grid::Affine;
use super::super::identity::{Identity, SourceSlice, slices_of_grid, stored_place};
use super::super::orientation::Orientation;
use super::super::{Problem, VolumeOptions};
use super::series::{Slice, Stack};

/// What the scan of these slices is known by.
pub(super) fn identity_of(slices: &[Slice<'_>]) -> Identity {
    let header = slices[0].header;
    let same = |of: fn(&Slice<'_>) -> Option<String>| {
        of(&slices[0]).filter(|uid| slices.iter().all(|slice| of(slice).as_ref() == Some(uid)))
    };
    let series = &header.identity.series;
    Identity {
        study_uid: same(|slice| slice.header.study_uid.clone()),
        series_uid: Some(series.uid.clone()).filter(|uid| !uid.is_empty()),
        series_number: Some(series.number).filter(|&number| number != i64::MAX),
        frame_of_reference_uid: same(|slice| slice.header.frame_of_reference_uid.clone()),
    }
}

/// The slices of the volume as read, in reading order. Where these lie across the stored ones, every one of them has a
/// line of every file, and only its own place is told.
pub(super) fn slices_of(stack: &Stack<'_>, options: &VolumeOptions) -> Result<Vec<SourceSlice>, Problem> {
    let stored = &stack.slices;
    let Some(columns) = stack.columns else {
        let order: Vec<&Slice<'_>> =
            if options.reverses() { stored.iter().rev().collect() } else { stored.iter().collect() };
        return Ok(order.into_iter().map(source_of).collect());
    };
    let orientation = Orientation::closest(&columns, options.slice_order)?;
    if orientation.from_axis[0] == 2 {
        let count = stored.len();
        return Ok((0..count).map(|slice| source_of(&stored[stored_place(&orientation, slice, count)])).collect());
    }
    let header = stored[0].header;
    let count = [header.columns, header.rows][orientation.from_axis[0]];
    let origin = stored[0].frame().position.map(|[x, y, z]| [-x, -y, z]);
    let affine = Affine { columns, spacing_known: stack.spacing_known, origin };
    Ok(slices_of_grid(&affine, &orientation, usize::from(count)))
}

fn source_of(slice: &Slice<'_>) -> SourceSlice {
    let identity = &slice.header.identity;
    SourceSlice {
        sop_instance_uid: identity.instance_uid.clone(),
        frame: Some(slice.index + 1),
        instance_number: Some(identity.instance).filter(|&number| number != i64::MAX),
        position_mm: slice.frame().position,
    }
}
