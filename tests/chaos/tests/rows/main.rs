//! Rows of the fault list on the real binary and real files: what was answered is kept, effects happen once, and the hub
//! comes back by itself.

/// A1 to A9, and every fail point.
mod crashes;

/// Kill after kill.
mod kills;

/// A14: what a power cut leaves.
mod power;

/// B22, B24, B25, B26: disks that are full, slow, moved or damaged.
mod disk;

/// D40: a clock that steps back.
mod clock;

/// D42 and D43: restarts under load, and everything due at once.
mod herd;

/// One tenant with nearly all deliveries, beside others.
mod neighbours;

/// D44 and D45: memory and descriptors.
mod scarce;

/// Several nodes on one database.
mod nodes;
