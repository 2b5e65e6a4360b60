//! Which volumes are encoded, and where: known ones are found by their voxels' hash, and the place that was used least
//! recently and that no handle keeps is given to the next.
use crate::encoded::{self, ContentHash, VolumeInner, VolumeState};
use std::sync::{Arc, Weak};

/// The places for volumes.
pub(crate) struct Volumes {
    /// The engine that they belong to.
    engine: u64,
    places: Vec<Place>,
    uses: u64,
    given: u64,
}

#[derive(Default)]
struct Place {
    /// Whose features are there, or will be; `None` in a place that has none to be found.
    hash: Option<ContentHash>,
    /// What tells these features from those before.
    id: u64,
    /// Whether the features are complete.
    ready: bool,
    holder: Weak<VolumeInner>,
    /// When it was used last.
    used: u64,
}

impl Volumes {
    /// `count` free places of an engine.
    pub fn new(engine: u64, count: usize) -> Self {
        Self { engine, places: (0..count).map(|_| Place::default()).collect(), uses: 0, given: 0 }
    }

    /// The volume, if it is encoded or about to be.
    pub fn find(&mut self, hash: &ContentHash) -> Option<Arc<VolumeInner>> {
        let at = self.places.iter().position(|place| place.hash.as_ref() == Some(hash))?;
        self.uses += 1;
        let place = &mut self.places[at];
        place.used = self.uses;
        if let Some(holder) = place.holder.upgrade() {
            return Some(holder);
        }
        // Without a handle it is of use only if it was completed: dropping the last one cancels the encoding.
        place.ready.then(|| {
            let state = Arc::new(VolumeState::new(true));
            let found = encoded::Place { index: at, id: place.id };
            let inner = Arc::new(VolumeInner { engine: self.engine, place: found, hash: *hash, state });
            place.holder = Arc::downgrade(&inner);
            inner
        })
    }

    /// A place for a volume that is to be encoded; `None` if handles keep all of them. One that is not `shared` is
    /// found by no later caller.
    pub fn give(&mut self, hash: ContentHash, shared: bool) -> Option<Arc<VolumeInner>> {
        let free = |at: &usize| self.places[*at].holder.strong_count() == 0;
        let at = (0..self.places.len()).filter(free).min_by_key(|&at| (self.places[at].ready, self.places[at].used))?;
        self.uses += 1;
        self.given += 1;
        let id = self.given;
        let place = encoded::Place { index: at, id };
        let state = Arc::new(VolumeState::new(false));
        let inner = Arc::new(VolumeInner { engine: self.engine, place, hash, state });
        let holder = Arc::downgrade(&inner);
        self.places[at] = Place { hash: shared.then_some(hash), id, ready: false, holder, used: self.uses };
        Some(inner)
    }

    /// Notes that a volume is encoded, or that it never will be.
    pub fn note(&mut self, at: encoded::Place, encoded: bool) {
        let place = &mut self.places[at.index];
        if place.id == at.id {
            place.ready = encoded;
            if !encoded {
                place.hash = None;
            }
        }
    }

    /// How many volumes are encoded, and how many places handles keep.
    pub fn counts(&self) -> [usize; 2] {
        let ready = self.places.iter().filter(|place| place.ready).count();
        [ready, self.places.iter().filter(|place| place.holder.strong_count() > 0).count()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: u8) -> ContentHash {
        [of; 32]
    }

    #[test]
    fn known_volumes_are_found_and_the_oldest_without_a_handle_gives_way() {
        let mut volumes = Volumes::new(7, 2);
        let first = volumes.give(hash(1), true).expect("free");
        assert_eq!((first.engine, first.place.index), (7, 0));
        assert!(Arc::ptr_eq(&volumes.find(&hash(1)).expect("about to be"), &first));
        volumes.note(first.place, true);
        let second = volumes.give(hash(2), true).expect("free");
        volumes.note(second.place, true);
        assert!(volumes.give(hash(3), true).is_none(), "both are kept");
        assert_eq!(volumes.counts(), [2, 2]);
        let place = first.place;
        drop((first, second));
        let again = volumes.find(&hash(1)).expect("it stays encoded");
        assert_eq!(again.place, place);
        assert!(again.state.readiness().expect("known").is_ok());
        let third = volumes.give(hash(3), true).expect("the second has no handle");
        assert_eq!(third.place.index, 1);
        assert!(volumes.find(&hash(2)).is_none());
        drop(again);
        drop(third);
        assert!(volumes.find(&hash(3)).is_none(), "it was dropped before it was complete");
        assert_eq!(volumes.give(hash(4), true).expect("free").place.index, 1, "a place without features goes first");
    }

    #[test]
    fn failures_and_private_volumes_are_not_found() {
        let mut volumes = Volumes::new(0, 2);
        let failed = volumes.give(hash(1), true).expect("free");
        volumes.note(failed.place, false);
        assert!(volumes.find(&hash(1)).is_none());
        let private = volumes.give(hash(2), false).expect("free");
        volumes.note(private.place, true);
        assert!(volumes.find(&hash(2)).is_none());
        drop(failed);
        let next = volumes.give(hash(5), true).expect("free");
        volumes.note(next.place, true);
        assert!(volumes.find(&hash(5)).is_some());
    }

    /// An encoding that was given up says so after its place was given away; the new one stays.
    #[test]
    fn a_late_word_about_an_old_volume_changes_nothing() {
        let mut volumes = Volumes::new(0, 1);
        let old = volumes.give(hash(1), true).expect("free").place;
        let new = volumes.give(hash(2), true).expect("free");
        volumes.note(new.place, true);
        volumes.note(old, false);
        assert!(volumes.find(&hash(2)).is_some());
    }
}
