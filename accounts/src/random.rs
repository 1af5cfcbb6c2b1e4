//! Bits nobody can guess.

use std::fmt;

use domain::ports::StoreError;

/// Where secrets come from.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes` with bits nobody can guess, or says that there are none.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), StoreError>;
}

/// The generator of the machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), StoreError> {
        getrandom::fill(bytes).map_err(|why| StoreError::Unavailable(format!("no random bits: {why}")))
    }
}
