//! Real mTLS on loopback: who gets in, who does not, and what both sides say.

mod admission;
mod enrolment;
mod reload;
mod support;
