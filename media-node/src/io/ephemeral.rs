//! The ports that Linux gives to sockets which ask for none, as `/proc/sys/net/ipv4` tells.

use std::ops::RangeInclusive;

/// The kernel's range, when it has a port of ours in it that is not reserved. `range` reads
/// `32768 60999`, `reserved` reads `20000-29999,40000`; what cannot be read overlaps nothing.
pub(crate) fn overlap(
    ours: RangeInclusive<u16>,
    range: &str,
    reserved: &str,
) -> Option<RangeInclusive<u16>> {
    let mut words = range.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(start)), Some(Ok(end))) = (words.next(), words.next()) else { return None };
    let kernel: RangeInclusive<u16> = start..=end;
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            Some(start.parse().ok()?..=end.parse().ok()?)
        })
        .collect();
    let lent = |port: &u16| {
        kernel.contains(port) && !reserved.iter().any(|reserved| reserved.contains(port))
    };
    ours.into_iter().any(|port| lent(&port)).then(|| kernel.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "32768\t60999\n";

    #[test]
    fn the_default_range_lies_outside_of_the_kernel_s() {
        assert_eq!(overlap(20000..=29999, USUAL, "\n"), None);
        assert_eq!(overlap(61000..=65535, USUAL, ""), None);
    }

    #[test]
    fn one_port_inside_is_enough() {
        assert_eq!(overlap(20000..=32768, USUAL, ""), Some(32768..=60999));
        assert_eq!(overlap(40000..=40000, USUAL, "39999,40001"), Some(32768..=60999));
    }

    #[test]
    fn reserved_ports_are_not_lent() {
        assert_eq!(overlap(40000..=40999, USUAL, "8080,40000-40999\n"), None);
        assert_eq!(overlap(40000..=41000, USUAL, "40000-40999"), Some(32768..=60999));
    }

    #[test]
    fn what_cannot_be_read_overlaps_nothing() {
        assert_eq!(overlap(1..=65535, "", ""), None);
        assert_eq!(overlap(1..=65535, "many few", "?-"), None);
    }
}
