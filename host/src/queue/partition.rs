//! Partitions of the lanes: each is owned by one node at a time.

use super::lane::LaneKey;

/// How many partitions the lanes hash into.
pub const PARTITIONS: u8 = 64;

/// How far a partition's number stands from the right in a lane's first byte.
const SHIFT: u32 = 2;

/// One of the [`PARTITIONS`] contiguous ranges of lane keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u8);

impl Partition {
    /// The partition of this number; none from [`PARTITIONS`] on.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < PARTITIONS { Some(Self(number)) } else { None }
    }

    /// The partition that a lane belongs to: the top six bits of its key.
    #[must_use]
    pub const fn of(lane: LaneKey) -> Self {
        Self(lane.0[0] >> SHIFT)
    }

    /// Its number, below [`PARTITIONS`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The first of its lane keys.
    #[must_use]
    pub const fn first(self) -> LaneKey {
        let mut key = [0; 16];
        key[0] = self.0 << SHIFT;
        LaneKey(key)
    }

    /// The last of its lane keys.
    #[must_use]
    pub const fn last(self) -> LaneKey {
        let mut key = [0xff; 16];
        key[0] = self.0 << SHIFT | ((1 << SHIFT) - 1);
        LaneKey(key)
    }
}

/// Any number of partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionSet(u64);

impl PartitionSet {
    /// Every partition: of a process that has the database for itself.
    #[must_use]
    pub const fn all() -> Self {
        Self(u64::MAX)
    }

    /// No partition.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// One bit a partition, that of the first lowest.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set with these [`bits`](Self::bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The partitions that are in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The partitions that are in one of the sets or in both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has every partition.
    #[must_use]
    pub const fn is_all(self) -> bool {
        self.0 == u64::MAX
    }

    /// Whether it has no partition.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many partitions it has.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Adds a partition; answers whether it is new.
    pub const fn insert(&mut self, partition: Partition) -> bool {
        let new = !self.contains(partition);
        self.0 |= 1 << partition.0;
        new
    }

    /// Takes a partition out; answers whether it was there.
    pub const fn remove(&mut self, partition: Partition) -> bool {
        let known = self.contains(partition);
        self.0 &= !(1 << partition.0);
        known
    }

    /// Whether it has this partition.
    #[must_use]
    pub const fn contains(self, partition: Partition) -> bool {
        self.0 & (1 << partition.0) != 0
    }

    /// Its partitions in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Partition> {
        (0..PARTITIONS).map(Partition).filter(move |partition| self.contains(*partition))
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        let mut set = Self::none();
        for partition in partitions {
            set.insert(partition);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_key_lies_between_the_first_and_last_of_its_partition_alone() {
        for byte in 0..=u8::MAX {
            let lane = LaneKey([byte; 16]);
            let own: Vec<_> = PartitionSet::all()
                .iter()
                .filter(|partition| partition.first() <= lane && lane <= partition.last())
                .collect();
            assert_eq!(own, [lane.partition()]);
        }
        assert_eq!(PartitionSet::all().iter().count(), usize::from(PARTITIONS));
    }

    #[test]
    fn a_set_has_what_was_put_in_and_not_taken_out() {
        let (two, last) = (Partition::new(2).unwrap(), Partition::new(63).unwrap());
        let mut set: PartitionSet = [two, last, two].into_iter().collect();
        assert_eq!(set.iter().map(Partition::number).collect::<Vec<_>>(), [2, 63]);
        assert!(!set.insert(last) && set.remove(two) && !set.remove(two));
        assert!(set.len() == 1 && !set.is_empty() && !set.is_all());
        assert_eq!(Partition::new(PARTITIONS), None);
    }
}
