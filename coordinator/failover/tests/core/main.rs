//! The core's tests: exact effects, text scenarios with their transcripts,
//! flows, troubles, and random storms.

#[cfg(test)]
mod approvals;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod blocked;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod emergency;
#[cfg(test)]
mod explained;
#[cfg(test)]
mod failsafe;
#[cfg(test)]
mod feeds;
#[cfg(test)]
mod fellows;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod observers;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod standby;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod world;
