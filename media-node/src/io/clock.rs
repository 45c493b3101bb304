//! The clock, and randomness nobody can guess.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::random::Random;

/// The operating system's randomness.
pub(crate) struct OsRandom(SystemRandom);

impl OsRandom {
    pub(crate) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Random for OsRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        // aws-lc keeps a generator seeded by the kernel; it fails only where the kernel has no
        // randomness to give, and then nothing this process says could be kept secret.
        self.0.fill(bytes).expect("the kernel gives randomness");
    }
}
