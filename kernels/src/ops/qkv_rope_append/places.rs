//! Which rows of a call have a place in the cache, and which: the definition that `pages.cuh` computes row by row.
use super::Heads;
use crate::PAGE_TOKENS;
use std::collections::HashMap;

/// Where the rows of a call say that they belong.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Each row's position in its sequence.
    pub positions: &'a [u32],
    /// The block table, or one for each row.
    pub table: &'a [u32],
    /// Entries of one sequence's table.
    pub table_pages: usize,
    /// Entries from one row's table to the next one's; 0 where all rows are of one sequence.
    pub table_stride: usize,
}

/// A row of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The physical page.
    pub page: usize,
    /// The row of the page.
    pub slot: usize,
}

/// Each row's place; none for rows outside of cos and sin, the table or the cache, out of order, or at a place that
/// another row has.
pub(crate) fn places(rows: Rows<'_>, heads: Heads) -> Vec<Option<Place>> {
    let place = |row: usize| {
        let position = rows.positions[row] as usize;
        let in_order = rows.table_stride > 0 || position == rows.positions[0] as usize + row;
        let logical = position / PAGE_TOKENS;
        if !in_order || position >= heads.angles || logical >= rows.table_pages {
            return None;
        }
        let page = rows.table[row * rows.table_stride + logical] as usize;
        (page < heads.pages).then_some(Place { page, slot: position % PAGE_TOKENS })
    };
    let mut places: Vec<Option<Place>> = (0..rows.positions.len()).map(place).collect();
    let mut taken: HashMap<Place, usize> = HashMap::new();
    for place in places.iter().flatten() {
        *taken.entry(*place).or_default() += 1;
    }
    for place in &mut places {
        *place = place.filter(|place| taken[place] == 1);
    }
    places
}
