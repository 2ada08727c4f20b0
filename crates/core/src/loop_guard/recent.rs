//! A map that holds a bounded number of entries and forgets the one used longest ago.

use std::collections::{BTreeMap, VecDeque};

/// Entries by fingerprint, in the order in which they were last used.
#[derive(Clone, Debug)]
pub(super) struct Recent<V> {
    entries: BTreeMap<u64, (u64, V)>,
    /// Uses, oldest first; one that is not an entry's last says nothing.
    uses: VecDeque<(u64, u64)>,
    next: u64,
    most: usize,
}

impl<V> Recent<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), uses: VecDeque::new(), next: 0, most: most.max(1) }
    }

    pub(super) fn get(&self, key: u64) -> Option<&V> {
        self.entries.get(&key).map(|(_, value)| value)
    }

    /// The entry of `key`, made by `new` if there is none, and whether there was none. Counts as a use.
    pub(super) fn touch(&mut self, key: u64, new: impl FnOnce() -> V) -> (&mut V, bool) {
        let stamp = self.next;
        self.next = self.next.wrapping_add(1);
        self.uses.push_back((key, stamp));
        if self.uses.len() > self.most.saturating_mul(2) {
            self.uses.retain(|(key, stamp)| {
                *stamp == self.next.wrapping_sub(1) || self.entries.get(key).is_some_and(|(last, _)| last == stamp)
            });
        }
        let fresh = !self.entries.contains_key(&key);
        if fresh && self.entries.len() >= self.most {
            self.forget_oldest();
        }
        let entry = self.entries.entry(key).or_insert_with(|| (stamp, new()));
        entry.0 = stamp;
        (&mut entry.1, fresh)
    }

    /// Changes an entry without using it.
    pub(super) fn change<T: Default>(&mut self, key: u64, change: impl FnOnce(&mut V) -> T) -> T {
        self.entries.get_mut(&key).map(|(_, value)| change(value)).unwrap_or_default()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    /// The entries, the one used longest ago first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (u64, &V)> {
        self.uses.iter().filter_map(|(key, stamp)| {
            let (last, value) = self.entries.get(key)?;
            (last == stamp).then_some((*key, value))
        })
    }

    /// The same entries where at most `most` are held.
    pub(super) fn resized(self, most: usize) -> Self
    where
        V: Clone,
    {
        let mut resized = Self::new(most);
        for (key, value) in self.in_order() {
            resized.touch(key, || value.clone());
        }
        resized
    }

    fn forget_oldest(&mut self) {
        while let Some((key, stamp)) = self.uses.pop_front() {
            if self.entries.get(&key).is_some_and(|(last, _)| *last == stamp) {
                self.entries.remove(&key);
                return;
            }
        }
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self::new(1)
    }
}

#[cfg(feature = "serde")]
impl<V: serde::Serialize> serde::Serialize for Recent<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.in_order())
    }
}

#[cfg(feature = "serde")]
impl<'de, V: serde::Deserialize<'de>> serde::Deserialize<'de> for Recent<V> {
    /// As many as were written; whoever restores them says how many they may be.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<(u64, V)>::deserialize(deserializer)?;
        let mut recent = Self::new(entries.len());
        for (key, value) in entries {
            recent.touch(key, || value);
        }
        Ok(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_one_used_longest_ago_goes_first_and_order_survives() {
        let mut recent = Recent::new(3);
        for key in [1, 2, 3, 1, 1, 1, 1, 1, 1, 4] {
            *recent.touch(key, || 0).0 += 1;
        }
        let order: Vec<_> = recent.in_order().map(|(key, value)| (key, *value)).collect();
        assert_eq!(order, [(3, 1), (1, 7), (4, 1)]);
        assert!(recent.uses.len() <= 7, "{}", recent.uses.len());
        let smaller = recent.resized(2);
        assert_eq!((smaller.get(4), smaller.get(3), smaller.get(1)), (Some(&1), None, Some(&7)));
    }
}
