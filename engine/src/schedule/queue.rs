//! Questions that wait: bounded, and fair among tenants.
use std::collections::{BTreeMap, VecDeque};

/// What waits, for each tenant in the order of arrival.
pub(crate) struct Queue<T> {
    limit: usize,
    tenants: BTreeMap<u64, Tenant<T>>,
    waiting: usize,
}

struct Tenant<T> {
    waiting: VecDeque<T>,
    /// How often its turn has come, as far as that matters among those that wait.
    turns: u64,
}

/// Whether what waits can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Now.
    Begins,
    /// Not yet, but those behind it may.
    LetsPass,
    /// Not yet, and it must not be overtaken for ever: nothing begins before it.
    Blocks,
}

impl<T> Queue<T> {
    /// Room for `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, tenants: BTreeMap::new(), waiting: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Lets one more wait; gives it back if the queue is full.
    pub fn push(&mut self, tenant: u64, one: T) -> Result<(), T> {
        if self.waiting == self.limit {
            return Err(one);
        }
        // Who comes late has missed no turn.
        let turns = self.tenants.values().map(|tenant| tenant.turns).min().unwrap_or(0);
        let tenant = self.tenants.entry(tenant).or_insert_with(|| Tenant { waiting: VecDeque::new(), turns });
        tenant.waiting.push_back(one);
        self.waiting += 1;
        Ok(())
    }

    /// Takes the next that can begin: the oldest of the tenant that had the fewest turns, unless it lets others pass.
    pub fn pop(&mut self, mut admission: impl FnMut(&T) -> Admission) -> Option<T> {
        let mut order: Vec<(u64, u64)> = self.tenants.iter().map(|(&id, tenant)| (tenant.turns, id)).collect();
        order.sort_unstable();
        for (_, id) in order {
            let tenant = self.tenants.get_mut(&id).expect("just listed");
            for at in 0..tenant.waiting.len() {
                match admission(&tenant.waiting[at]) {
                    Admission::LetsPass => {}
                    Admission::Blocks => return None,
                    Admission::Begins => {
                        let one = tenant.waiting.remove(at);
                        tenant.turns += 1;
                        self.tidy();
                        return one;
                    }
                }
            }
        }
        None
    }

    /// Takes out those that should not wait any more.
    pub fn extract(&mut self, mut ends: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for tenant in self.tenants.values_mut() {
            for one in std::mem::take(&mut tenant.waiting) {
                if ends(&one) { taken.push(one) } else { tenant.waiting.push_back(one) }
            }
        }
        self.tidy();
        taken
    }

    /// All that wait.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.tenants.values().flat_map(|tenant| &tenant.waiting)
    }

    fn tidy(&mut self) {
        self.tenants.retain(|_, tenant| !tenant.waiting.is_empty());
        self.waiting = self.tenants.values().map(|tenant| tenant.waiting.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Admission::{Begins, Blocks, LetsPass};

    #[test]
    fn tenants_take_turns_and_one_that_comes_late_does_not_overtake_for_long() {
        let mut queue = Queue::new(20);
        (0..5).for_each(|at| queue.push(1, (1, at)).expect("room"));
        let mut order: Vec<(u64, u64)> = (0..2).filter_map(|_| queue.pop(|_| Begins)).collect();
        (0..3).for_each(|at| queue.push(2, (2, at)).expect("room"));
        order.extend(std::iter::from_fn(|| queue.pop(|_| Begins)));
        assert_eq!(order, [(1, 0), (1, 1), (1, 2), (2, 0), (1, 3), (2, 1), (1, 4), (2, 2)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let mut queue = Queue::new(2);
        assert!(queue.push(0, 'a').is_ok() && queue.push(9, 'b').is_ok());
        assert_eq!(queue.push(0, 'c'), Err('c'));
        assert_eq!(queue.extract(|&one| one == 'a'), ['a']);
        assert_eq!((queue.len(), queue.push(0, 'c')), (1, Ok(())));
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), ['c', 'b']);
    }

    #[test]
    fn one_that_cannot_begin_lets_others_pass_or_blocks_them() {
        let mut queue = Queue::new(9);
        "abc".chars().for_each(|one| queue.push(0, one).expect("room"));
        queue.push(1, 'd').expect("room");
        let pop =
            |queue: &mut Queue<char>, not_yet: Admission| queue.pop(|&one| if one == 'a' { not_yet } else { Begins });
        assert_eq!(pop(&mut queue, Blocks), None);
        assert_eq!(pop(&mut queue, LetsPass), Some('b'));
        assert_eq!(pop(&mut queue, LetsPass), Some('d'), "the other tenant's turn");
        assert_eq!(queue.pop(|_| Begins), Some('a'));
    }
}
