//! Sums tokens in f64, the 3D tokens of a layer once for all its slices.
use super::SliceKeys;
use crate::{Result, View};
use rayon::prelude::*;

/// Sums over the tokens of each group, and how many tokens a group has.
struct GroupSums {
    sums: Vec<f64>,
    tokens: usize,
}

fn group_sums(tokens: &View<'_>) -> Result<GroupSums> {
    let &[groups, per_group, dim] = tokens.dims().as_slice() else { unreachable!("the contract fixed the rank") };
    let values = tokens.host::<f32>()?;
    let mut sums = vec![0f64; groups * dim];
    sums.par_chunks_exact_mut(dim).zip(values.par_chunks_exact((per_group * dim).max(1))).for_each(|(sum, group)| {
        for token in group.chunks_exact(dim) {
            for (sum, &value) in sum.iter_mut().zip(token) {
                *sum += f64::from(value);
            }
        }
    });
    Ok(GroupSums { sums, tokens: per_group })
}

/// One group made of all groups.
fn merged(parts: GroupSums, dim: usize) -> GroupSums {
    let mut sums = vec![0f64; dim];
    let groups = parts.sums.len() / dim;
    for part in parts.sums.chunks_exact(dim) {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part;
        }
    }
    GroupSums { sums, tokens: parts.tokens * groups }
}

pub(crate) fn run(mut op: SliceKeys<'_>) -> Result<()> {
    let (slices, dim) = op.check()?;
    if slices * dim == 0 {
        return Ok(());
    }
    let layers = match &op.z_3d {
        Some(z_3d) if op.whole_volume => Some(merged(group_sums(z_3d)?, dim)),
        Some(z_3d) => Some(group_sums(z_3d)?),
        None => None,
    };
    let planes = op.z_2d_slices.as_ref().map(group_sums).transpose()?;
    for (slice, key) in op.keys.host::<f32>()?.chunks_exact_mut(dim).enumerate() {
        let layer = layers.as_ref().map(|layers| {
            let index = slice * (layers.sums.len() / dim) / slices;
            (&layers.sums[index * dim..][..dim], layers.tokens)
        });
        let plane = planes.as_ref().map(|planes| (&planes.sums[slice * dim..][..dim], planes.tokens));
        let tokens = (layer.map_or(0, |l| l.1) + plane.map_or(0, |p| p.1)) as f64;
        for (i, key) in key.iter_mut().enumerate() {
            *key = ((layer.map_or(0.0, |l| l.0[i]) + plane.map_or(0.0, |p| p.0[i])) / tokens) as f32;
        }
    }
    Ok(())
}
