//! The ticks: how the formulas of A2, A6 and C4 become small numbers.
//!
//! The smallest numbers at which each term of the formulas matters. All that
//! the model keeps is true time; a clock's error is in these constants, always
//! in the direction that hurts.

/// A number of ticks.
pub type Ticks = u8;

/// `T`: the length of a lease.
pub const LEASE: Ticks = 2;

/// `rho`: what a clock loses or gains at most while a lease lasts.
pub const RATE_ERROR: Ticks = 1;

/// `m`: the skew margin. It pays for the clock of the one who waits; with less
/// than [`RATE_ERROR`] two gates open ([`crate::Defect::C4WithoutMargin`]).
pub const MARGIN: Ticks = 1;

/// A2: how long after `t_send` the gate of a host with a slow clock may be open.
/// `d_stop` is zero here: it leaves room for stopping, the argument needs none.
pub const HELD: Ticks = LEASE + RATE_ERROR;

/// A6, C4: `T(1+rho) + m`, as little as it is by a fast clock: how long a promise
/// binds, a restarted agent refuses, and a leader waits.
pub const WAITED: Ticks = LEASE + RATE_ERROR + MARGIN - RATE_ERROR;
