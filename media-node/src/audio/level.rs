//! How loud coded audio is, and how loud the room behind it: by table, for every packet.

use super::g711::{self, Law};

/// The mean power of G.711, in squares of 16-bit steps; 0 for nothing.
pub fn power(law: Law, coded: &[u8]) -> u32 {
    let table = match law {
        Law::Mu => &ULAW_POWER,
        Law::A => &ALAW_POWER,
    };
    let sum: u64 = coded.iter().map(|code| u64::from(table[usize::from(*code)])).sum();
    u32::try_from(sum / (coded.len() as u64).max(1)).unwrap_or(u32::MAX)
}

/// A power as a level in -dBov (RFC 3389 §3): 0 is full scale, 127 is silence.
pub fn level(power: u32) -> u8 {
    if power == 0 {
        return 127;
    }
    (20.0 * 32768_f64.log10() - 10.0 * f64::from(power).log10()).round().clamp(0.0, 127.0) as u8
}

/// A level in -dBov as a power.
pub fn power_of(level: u8) -> u32 {
    (32768_f64.powi(2) * 10_f64.powf(-f64::from(level) / 10.0)) as u32
}

static ULAW_POWER: [u32; 256] = g711::squares(Law::Mu);
static ALAW_POWER: [u32; 256] = g711::squares(Law::A);

/// The noise behind a voice: the quietest packet of the last two seconds, for nobody speaks without
/// a pause. The level moves by a decibel each half second, within bounds, so neither one
/// lost or silent packet nor a long word moves it far.
pub struct NoiseFloor {
    /// The least power of each half second, the present one last.
    least: [u32; 4],
    /// Samples heard of the present half second.
    heard: usize,
    /// Half seconds heard.
    seen: u8,
    level: u8,
}

/// Half a second.
const PART_SAMPLES: usize = 4000;
/// As loud and as quiet as a room is taken to be, in -dBov.
pub const LOUDEST_ROOM: u8 = 50;
pub const QUIETEST_ROOM: u8 = 72;

impl NoiseFloor {
    /// `level`, in -dBov, is believed until two seconds were heard.
    pub fn new(level: u8) -> Self {
        Self { least: [u32::MAX; 4], heard: 0, seen: 0, level: clamped(level) }
    }

    /// Takes in a packet of so many samples and this mean power. Returns the level when it changed.
    pub fn record(&mut self, power: u32, samples: usize) -> Option<u8> {
        let [.., present] = &mut self.least;
        *present = (*present).min(power);
        self.heard += samples;
        if self.heard < PART_SAMPLES {
            return None;
        }
        self.heard = 0;
        self.seen = self.seen.saturating_add(1);
        let least = self.least.into_iter().min().unwrap_or(u32::MAX);
        self.least.rotate_left(1);
        let [.., present] = &mut self.least;
        *present = u32::MAX;
        if usize::from(self.seen) < self.least.len() {
            return None;
        }
        // The quietest of a hundred packets of steady noise is a decibel below it.
        let wanted = clamped(level(least).saturating_sub(1));
        let before = self.level;
        self.level = wanted.clamp(before.saturating_sub(1), before.saturating_add(1));
        (self.level != before).then_some(self.level)
    }

    /// The carrier says itself how loud the noise is (RFC 3389).
    pub fn told(&mut self, level: u8) -> Option<u8> {
        let before = std::mem::replace(&mut self.level, clamped(level));
        (self.level != before).then_some(self.level)
    }

    /// In -dBov.
    pub fn level(&self) -> u8 {
        self.level
    }
}

fn clamped(level: u8) -> u8 {
    level.clamp(LOUDEST_ROOM, QUIETEST_ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::comfort_noise::ComfortNoise;
    use crate::audio::format::Format;

    fn noise(law: Law, level: u8) -> Vec<u8> {
        let mut coded = vec![0; 16_000];
        ComfortNoise::new(Format::G711(law), level, 3).fill(&mut coded);
        coded
    }

    #[test]
    fn levels_are_those_of_the_samples() {
        for law in [Law::Mu, Law::A] {
            for wanted in [20, 40, 60] {
                let found = level(power(law, &noise(law, wanted)));
                assert!(found.abs_diff(wanted) <= 1, "{law:?} {wanted}: {found}");
            }
        }
        assert_eq!(power(Law::Mu, &[0x80; 7]), 32_124 * 32_124);
        assert_eq!((power(Law::Mu, &[]), level(0), level(u32::MAX)), (0, 127, 0));
        assert_eq!((level(power_of(30)), power_of(127)), (30, 0));
    }

    /// Feeds packets of 20 ms and returns the level in the end.
    fn floor_of(floor: &mut NoiseFloor, coded: &[u8]) -> u8 {
        for packet in coded.chunks(160) {
            floor.record(power(Law::Mu, packet), 160);
        }
        floor.level()
    }

    #[test]
    fn the_floor_is_the_noise_and_not_the_voice_over_it() {
        let mut floor = NoiseFloor::new(65);
        let quiet = noise(Law::Mu, 58);
        let mut coded = Vec::new();
        for _ in 0..8 {
            // A second and a half of voice, half a second of pause.
            coded.extend(&noise(Law::Mu, 20)[..12_000]);
            coded.extend(&quiet[..4_000]);
        }
        let level = floor_of(&mut floor, &coded);
        assert!(level.abs_diff(58) <= 1, "{level}");
    }

    #[test]
    fn the_floor_is_slow_bounded_and_waits_for_two_seconds() {
        let mut floor = NoiseFloor::new(65);
        assert_eq!(floor_of(&mut floor, &noise(Law::Mu, 20)[..12_000]), 65);
        assert_eq!(floor_of(&mut floor, &noise(Law::Mu, 20)[..4_000]), 64);
        for _ in 0..20 {
            floor_of(&mut floor, &noise(Law::Mu, 20));
        }
        assert_eq!(floor.level(), LOUDEST_ROOM);
        // One silent packet moves it by the two seconds that it is remembered, no further.
        floor_of(&mut floor, &[0xff; 160]);
        for _ in 0..3 {
            floor_of(&mut floor, &noise(Law::Mu, 20));
        }
        assert!(floor.level() <= LOUDEST_ROOM + 4);
        for _ in 0..20 {
            floor_of(&mut floor, &[0xff; 16_000]);
        }
        assert_eq!(floor.level(), QUIETEST_ROOM);
        assert_eq!((floor.told(55), floor.told(55)), (Some(55), None));
    }
}
