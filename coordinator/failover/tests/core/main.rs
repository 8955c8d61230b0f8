//! The core's tests: exact flows, troubles, and random storms.

#[cfg(test)]
mod flows;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod world;
