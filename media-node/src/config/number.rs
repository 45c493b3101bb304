//! Called numbers: how what a carrier writes becomes E.164, and the patterns routes compare it with.

use std::fmt;

/// Where the called number stands in an INVITE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CalledHeader {
    #[default]
    RequestUri,
    To,
    /// RFC 7315 §4.2.
    PCalledPartyId,
}

/// A trunk's `calledNumber`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalledNumber {
    pub header: CalledHeader,
    /// Digits without `+`; empty: national numbers stay as they come.
    pub country_code: String,
    /// Taken off the front first (a technical prefix, `9` or `1234#`).
    pub strip_prefix: String,
}

/// E.164 allows 15 digits (ITU-T E.164 §6.2.1).
const MAX_DIGITS: usize = 15;
/// Shorter ones without a leading zero are extensions and short codes, not national numbers.
const MIN_NATIONAL_DIGITS: usize = 7;

impl CalledNumber {
    /// `user` is the unescaped user part of the URI (or a `tel:` number). The result is `+` and
    /// digits when it can be told to be a number of the world, else the user part as it came.
    ///
    /// With a country code: `00…` (`011…` for country 1) and the national prefix are replaced; a
    /// national number without prefix gets the code; one that already begins with the code gets
    /// its `+`. Italy keeps its leading zero, Russia and Kazakhstan dial 8, Hungary 06. Without a
    /// country code only `00…` is changed, and only when long enough to be international.
    pub fn normalise(&self, user: &str) -> String {
        // RFC 3261 §19.1.6: parameters of a telephone number travel inside the user part.
        let user = user.split(';').next().unwrap_or_default().trim();
        let user = match user.strip_prefix(self.strip_prefix.as_str()) {
            Some(rest) if !rest.is_empty() => rest,
            _ => user,
        };
        let is_separator = |c: char| matches!(c, '-' | '.' | '(' | ')' | ' ');
        let looks_dialled = user.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit());
        let bare: String = user.chars().filter(|c| !is_separator(*c)).collect();
        let digits = bare.strip_prefix('+').unwrap_or(&bare);
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !looks_dialled || !all_digits {
            return user.to_owned();
        }
        let international = |digits: &str| -> Option<String> {
            let fits = digits.len() <= MAX_DIGITS && !digits.starts_with('0') && !digits.is_empty();
            fits.then(|| format!("+{digits}"))
        };
        if bare.starts_with('+') {
            // +44 (0)20 …: the zero in brackets is not dialled from abroad.
            let digits = match user.split_once("(0)") {
                Some((code, rest)) => {
                    format!("{code}{rest}").chars().filter(char::is_ascii_digit).collect()
                }
                None => digits.to_owned(),
            };
            return international(&digits).unwrap_or_else(|| user.to_owned());
        }
        let code = self.country_code.as_str();
        let long = digits.len() >= MIN_NATIONAL_DIGITS;
        let number = if code.is_empty() {
            digits.strip_prefix("00").filter(|rest| rest.len() >= 8).and_then(international)
        } else if let Some(rest) = digits.strip_prefix("00") {
            international(rest)
        } else if !long {
            None
        } else {
            international(&national(code, digits))
        };
        number.unwrap_or_else(|| user.to_owned())
    }
}

/// A national number with its country code in front, without `+`.
fn national(code: &str, digits: &str) -> String {
    match code {
        "1" => {
            if let Some(rest) = digits.strip_prefix("011") {
                return rest.to_owned();
            }
            if digits.len() == 11 && digits.starts_with('1') {
                return digits.to_owned();
            }
        }
        "39" | "378" if digits.starts_with('0') => return format!("{code}{digits}"),
        "7" if digits.len() == 11 && digits.starts_with(['7', '8']) => {
            return format!("7{}", digits.get(1..).unwrap_or_default());
        }
        "36" if digits.starts_with("06") => {
            return format!("36{}", digits.get(2..).unwrap_or_default());
        }
        _ => {}
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return format!("{code}{rest}");
    }
    // 442079460000 is complete; 47123456 in Norway, 65123456 in Singapore are not.
    let complete_from = if code.len() >= 3 { 9 } else { 10 };
    if code != "1" && digits.starts_with(code) && digits.len() >= complete_from {
        return digits.to_owned();
    }
    format!("{code}{digits}")
}

/// What a route compares a called number with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NumberPattern {
    Exact(String),
    /// Everything that begins so; written with a trailing `*`.
    Prefix(String),
}

/// How closely a pattern fits; the greater the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// A route without numbers.
    CatchAll,
    /// By a prefix of so many characters.
    Prefix(usize),
    Exact,
}

impl NumberPattern {
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    pub fn fit(&self, number: &str) -> Option<Fit> {
        match self {
            Self::Exact(exact) => (exact == number).then_some(Fit::Exact),
            Self::Prefix(prefix) => number.starts_with(prefix).then_some(Fit::Prefix(prefix.len())),
        }
    }
}

impl fmt::Display for NumberPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(number) => f.write_str(number),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn national_and_00_forms_become_e164() {
        let table = [
            // country code, what comes, what routes compare
            ("44", "+442079460000", "+442079460000"),
            ("44", "00442079460000", "+442079460000"),
            ("44", "02079460000", "+442079460000"),
            ("44", "442079460000", "+442079460000"),
            ("44", "2079460000", "+442079460000"),
            ("44", "+44 (0)20 7946-0000", "+442079460000"),
            ("44", "020-7946.0000", "+442079460000"),
            ("44", "100", "100"),
            ("44", "0015551230001", "+15551230001"),
            ("44", "reception", "reception"),
            ("44", "4711#", "4711#"),
            ("44", "+15551230001;npdi=yes", "+15551230001"),
            ("1", "5551230001", "+15551230001"),
            ("1", "15551230001", "+15551230001"),
            ("1", "011442079460000", "+442079460000"),
            ("1", "911", "911"),
            ("39", "0612345678", "+390612345678"),
            ("39", "390612345678", "+390612345678"),
            ("7", "84951234567", "+74951234567"),
            ("7", "74951234567", "+74951234567"),
            ("36", "0612345678", "+3612345678"),
            ("47", "47123456", "+4747123456"),
            ("47", "4747123456", "+4747123456"),
            ("65", "65123456", "+6565123456"),
            ("298", "298201020", "+298201020"),
            ("", "15551230001", "15551230001"),
            ("", "0015551230001", "+15551230001"),
            ("", "02079460000", "02079460000"),
            ("", "+1 (555) 123-0001", "+15551230001"),
            ("", "anna.smith-7", "anna.smith-7"),
            ("", "", ""),
            ("44", "00", "00"),
            ("44", "+", "+"),
            ("44", "00000000000", "00000000000"),
            ("44", "1234567890123456789", "1234567890123456789"),
            ("44", "+0123", "+0123"),
        ];
        for (country_code, user, number) in table {
            let called = CalledNumber { country_code: country_code.into(), ..Default::default() };
            assert_eq!(called.normalise(user), number, "{user} in {country_code:?}");
        }
    }

    #[test]
    fn a_technical_prefix_goes_first() {
        let called = CalledNumber {
            country_code: "44".into(),
            strip_prefix: "1234#".into(),
            ..Default::default()
        };
        assert_eq!(called.normalise("1234#02079460000"), "+442079460000");
        assert_eq!(called.normalise("02079460000"), "+442079460000");
        assert_eq!(called.normalise("1234#"), "1234#");
    }

    #[test]
    fn an_exact_number_fits_better_than_any_prefix_and_a_longer_prefix_better_than_a_shorter() {
        let fit = |pattern: &str| NumberPattern::parse(pattern).fit("+15551230001");
        assert!(fit("+15551230001") > fit("+1555123*"));
        assert!(fit("+1555123*") > fit("+1*"));
        assert!(fit("*") > Some(Fit::CatchAll));
        assert_eq!(fit("+1666*"), None);
        assert_eq!(fit("+1555123000"), None);
        assert_eq!(NumberPattern::parse("+1555*").to_string(), "+1555*");
    }
}
