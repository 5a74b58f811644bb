//! GRUB 2: its menu, as far as "what would boot" needs it.

mod environment;
mod parse;
mod run;
mod test;

pub(crate) use environment::parse as parse_environment;
pub(crate) use run::choices;

#[cfg(test)]
mod tests;
