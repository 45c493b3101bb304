//! Keys of a telephone, alone and as a string to be sent.

use std::fmt;
use std::time::Duration;

/// One of `0`–`9`, `*`, `#`, `A`–`D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digit(u8);

/// By event code (RFC 4733 §3.2).
const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

impl Digit {
    /// `None` for anything but a digit; lower-case `a`–`d` are taken.
    pub fn new(c: char) -> Option<Self> {
        let byte = u8::try_from(c).ok()?.to_ascii_uppercase();
        let code = DIGITS.iter().position(|digit| *digit == byte)?;
        Self::from_event(u8::try_from(code).ok()?)
    }

    /// Event codes 0 to 15 (RFC 4733 §3.2).
    pub fn from_event(code: u8) -> Option<Self> {
        (usize::from(code) < DIGITS.len()).then_some(Self(code))
    }

    /// 0 to 15.
    pub fn event(self) -> u8 {
        self.0
    }

    pub fn as_char(self) -> char {
        DIGITS.get(usize::from(self.0)).copied().map_or('0', char::from)
    }
}

/// How long a key is held, and the pause behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTiming {
    tone: Duration,
    gap: Duration,
}

impl Default for KeyTiming {
    fn default() -> Self {
        Self { tone: Duration::from_millis(100), gap: Duration::from_millis(60) }
    }
}

impl KeyTiming {
    /// What exchanges must recognise at least (ITU-T Q.24 §3.2, table A-1), in milliseconds.
    pub const SHORTEST_MS: u32 = 40;
    pub const LONGEST_MS: u32 = 5000;

    /// `None` unless both are 40 to 5000 ms.
    pub fn new(tone_ms: u32, gap_ms: u32) -> Option<Self> {
        let fits = |ms| (Self::SHORTEST_MS..=Self::LONGEST_MS).contains(&ms);
        let span = |ms: u32| Duration::from_millis(ms.into());
        (fits(tone_ms) && fits(gap_ms)).then(|| Self { tone: span(tone_ms), gap: span(gap_ms) })
    }

    pub fn tone(&self) -> Duration {
        self.tone
    }

    pub fn gap(&self) -> Duration {
        self.gap
    }
}

/// One character of a string of digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Key(Digit),
    Pause(Duration),
}

/// Keys and pauses to be sent one after the other. They may be a PIN, so `Debug` says only how many.
#[derive(Clone, PartialEq, Eq)]
pub struct Digits {
    steps: Box<[Step]>,
    pub timing: KeyTiming,
}

/// Why a string cannot be sent. Positions count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDigits {
    #[error(
        "character {position} ({found:?}) is no key: write 0-9, *, #, A-D, and for a pause w (half \
         a second), W (one second) or , (two seconds)"
    )]
    NotAKey { position: usize, found: char },
    #[error("there is no key in it: write at least one of 0-9, *, #, A-D")]
    NoKey,
    #[error("more than {} characters: send them in several requests", Digits::MOST)]
    TooMany,
}

impl Digits {
    /// How many keys and pauses a string has at most.
    pub const MOST: usize = 128;

    /// Keys, with `w`, `W` and `,` for pauses as in the dial strings of modems, exchanges and
    /// carriers' APIs. White space and `-` are for the eye and mean nothing.
    pub fn parse(text: &str, timing: KeyTiming) -> Result<Self, NoDigits> {
        let mut steps = Vec::new();
        for (index, c) in text.chars().enumerate() {
            let pause = |ms| Step::Pause(Duration::from_millis(ms));
            let step = match c {
                'w' => pause(500),
                'W' => pause(1000),
                ',' => pause(2000),
                ' ' | '-' => continue,
                _ => match Digit::new(c) {
                    Some(digit) => Step::Key(digit),
                    None => return Err(NoDigits::NotAKey { position: index + 1, found: c }),
                },
            };
            if steps.len() == Self::MOST {
                return Err(NoDigits::TooMany);
            }
            steps.push(step);
        }
        if !steps.iter().any(|step| matches!(step, Step::Key(_))) {
            return Err(NoDigits::NoKey);
        }
        Ok(Self { steps: steps.into(), timing })
    }

    /// What is left from a step on; `None` when that is no key.
    pub fn from_step(&self, step: usize) -> Option<Self> {
        let steps = self.steps.get(step..)?;
        let has_key = steps.iter().any(|step| matches!(step, Step::Key(_)));
        has_key.then(|| Self { steps: steps.into(), timing: self.timing })
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn keys(&self) -> impl Iterator<Item = Digit> {
        self.steps.iter().filter_map(|step| match step {
            Step::Key(digit) => Some(*digit),
            Step::Pause(_) => None,
        })
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digits({})", self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Digits, NoDigits> {
        Digits::parse(text, KeyTiming::default())
    }

    #[test]
    fn digits_have_the_codes_of_the_rfc() {
        for (code, c) in "0123456789*#ABCD".chars().enumerate() {
            let digit = Digit::new(c).unwrap();
            assert_eq!((digit.event(), digit.as_char()), (code as u8, c));
            assert_eq!(Digit::from_event(code as u8), Some(digit));
        }
        assert_eq!(Digit::new('d'), Digit::new('D'));
        assert!(
            Digit::new('E').is_none() && Digit::new(' ').is_none() && Digit::new('é').is_none()
        );
        assert!(Digit::from_event(16).is_none());
    }

    #[test]
    fn a_string_is_keys_and_pauses() {
        let digits = parse("4w2-W #,d").unwrap();
        let ms = |ms| Step::Pause(Duration::from_millis(ms));
        let key = |c| Step::Key(Digit::new(c).unwrap());
        let wanted = [key('4'), ms(500), key('2'), ms(1000), key('#'), ms(2000), key('D')];
        assert!(digits.steps() == wanted);
        assert_eq!(digits.keys().map(Digit::as_char).collect::<String>(), "42#D");
        assert_eq!(format!("{digits:?}"), "Digits(7)");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(parse("12x4"), Err(NoDigits::NotAKey { position: 3, found: 'x' }));
        assert_eq!(parse("1é"), Err(NoDigits::NotAKey { position: 2, found: 'é' }));
        assert!(parse("12x4").unwrap_err().to_string().starts_with("character 3 ('x') is no key"));
        assert_eq!(parse(""), Err(NoDigits::NoKey));
        assert_eq!(parse("ww,"), Err(NoDigits::NoKey));
        assert!(parse(&"1".repeat(128)).is_ok());
        assert_eq!(parse(&"1".repeat(129)), Err(NoDigits::TooMany));
    }

    #[test]
    fn what_is_left_has_a_key_or_is_nothing() {
        let digits = parse("1w2w").unwrap();
        assert!(digits.from_step(1) == Some(parse("w2w").unwrap()));
        assert!(digits.from_step(3).is_none() && digits.from_step(9).is_none());
    }

    #[test]
    fn tones_and_gaps_are_such_as_exchanges_hear() {
        assert!(KeyTiming::new(40, 40).is_some() && KeyTiming::new(5000, 5000).is_some());
        assert!(KeyTiming::new(39, 60).is_none() && KeyTiming::new(100, 5001).is_none());
    }
}
