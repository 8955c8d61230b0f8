//! The core's tests: exact effects, text scenarios with their transcripts,
//! flows, troubles, and random storms.

#[cfg(test)]
mod effects;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod storms;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod world;
