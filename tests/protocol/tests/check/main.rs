//! The checker's verdicts: the sound protocol exhausted, each broken one found out.

#[cfg(test)]
mod broken;
#[cfg(test)]
mod sound;
