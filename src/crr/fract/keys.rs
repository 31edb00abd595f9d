//! Keys: an integer part, whose head tells its length, and a fraction, over the printable ASCII characters in byte order.
//!
//! Between any two keys there is a third. No fraction ends in a space, the smallest digit, so that a key has one form.

use super::super::{Error, Result};

const FIRST: u8 = b' ';
const LAST: u8 = b'~';
const DIGITS: usize = 95;
const ZERO: &[u8] = b"a ";

/// A key after `a` and before `b`; `None` is an open end.
pub(super) fn between(a: Option<&str>, b: Option<&str>) -> Result<String> {
    let key = match (a.map(Key::parse).transpose()?, b.map(Key::parse).transpose()?) {
        (None, None) => ZERO.to_vec(),
        (None, Some(b)) => before(b)?,
        (Some(a), None) => match increment(a.integer) {
            Some(next) => next,
            None => extend(a.integer, a.fraction, None),
        },
        (Some(a), Some(b)) => inside(a, b)?,
    };
    String::from_utf8(key).map_err(|_| Error::Order("a key is of printable ASCII characters"))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    integer: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Key<'a> {
    fn parse(key: &'a str) -> Result<Self> {
        let key = key.as_bytes();
        let head = key.first().ok_or(Error::Order("a key is not empty"))?;
        if !key.iter().all(|digit| (FIRST..=LAST).contains(digit)) {
            return Err(Error::Order("a key is of printable ASCII characters"));
        }
        let length = match head {
            b'a'..=b'z' => usize::from(head - b'a') + 2,
            b'A'..=b'Z' => usize::from(b'Z' - head) + 2,
            _ => return Err(Error::Order("head is out of range")),
        };
        let (integer, fraction) =
            key.split_at_checked(length).ok_or(Error::Order("integer part of key is too long"))?;
        if fraction.last() == Some(&FIRST) {
            return Err(Error::Order("a key does not end in a space behind its integer part"));
        }
        if is_smallest(integer) && fraction.is_empty() {
            return Err(Error::Order("Key is too small"));
        }
        Ok(Self { integer, fraction })
    }
}

fn is_smallest(integer: &[u8]) -> bool {
    matches!(integer, [b'A', digits @ ..] if digits.iter().all(|&digit| digit == FIRST))
}

fn before(b: Key<'_>) -> Result<Vec<u8>> {
    if is_smallest(b.integer) {
        Ok(extend(b.integer, &[], Some(b.fraction)))
    } else if b.fraction.is_empty() {
        let previous = decrement(b.integer).ok_or(Error::Order("cannot decrement anymore"))?;
        // The smallest integer is no key by itself.
        Ok(if is_smallest(&previous) { extend(&previous, &[], None) } else { previous })
    } else {
        Ok(b.integer.to_vec())
    }
}

fn inside(a: Key<'_>, b: Key<'_>) -> Result<Vec<u8>> {
    if a >= b {
        return Err(Error::Order("key_between - a must be before b"));
    }
    if a.integer == b.integer {
        return Ok(extend(a.integer, a.fraction, Some(b.fraction)));
    }
    let next = increment(a.integer).ok_or(Error::Order("Cannot increment anymore"))?;
    let room = next.as_slice() < b.integer || (next == b.integer && !b.fraction.is_empty());
    Ok(if room { next } else { extend(a.integer, a.fraction, None) })
}

/// `integer` with a fraction between `x` and `y`, where `None` is above all fractions.
fn extend(integer: &[u8], mut x: &[u8], mut y: Option<&[u8]>) -> Vec<u8> {
    let mut key = integer.to_vec();
    loop {
        let low = x.first().map_or(0, |digit| usize::from(digit - FIRST));
        let high = y.map_or(DIGITS, |y| y.first().map_or(0, |digit| usize::from(digit - FIRST)));
        let rest = x.get(1..).unwrap_or_default();
        if low == high {
            key.push(digit(low));
            (x, y) = (rest, y.map(|y| y.get(1..).unwrap_or_default()));
        } else if high - low > 1 {
            key.push(digit((low + high).div_ceil(2)));
            return key;
        } else if y.is_some_and(|y| y.len() > 1) {
            key.push(digit(high));
            return key;
        } else {
            key.push(digit(low));
            (x, y) = (rest, None);
        }
    }
}

fn digit(index: usize) -> u8 {
    FIRST + index as u8
}

/// The next integer, or `None` after the last.
fn increment(integer: &[u8]) -> Option<Vec<u8>> {
    let (&head, digits) = integer.split_first()?;
    let mut digits = digits.to_vec();
    for digit in digits.iter_mut().rev() {
        if *digit < LAST {
            *digit += 1;
            return Some([&[head], digits.as_slice()].concat());
        }
        *digit = FIRST;
    }
    match head {
        b'Z' => return Some(ZERO.to_vec()),
        b'z' => return None,
        b'a'..=b'y' => digits.push(FIRST),
        _ => drop(digits.pop()),
    }
    Some([&[head + 1], digits.as_slice()].concat())
}

/// The integer before, or `None` before the first.
fn decrement(integer: &[u8]) -> Option<Vec<u8>> {
    let (&head, digits) = integer.split_first()?;
    let mut digits = digits.to_vec();
    for digit in digits.iter_mut().rev() {
        if *digit > FIRST {
            *digit -= 1;
            return Some([&[head], digits.as_slice()].concat());
        }
        *digit = LAST;
    }
    match head {
        b'a' => return Some(b"Z~".to_vec()),
        b'A' => return None,
        b'B'..=b'Z' => digits.push(LAST),
        _ => drop(digits.pop()),
    }
    Some([&[head - 1], digits.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_those_of_cr_sqlite() {
        for (a, b, key) in [
            (None, None, "a "),
            (None, Some("a "), "Z~"),
            (None, Some("Z~"), "Z}"),
            (Some("a "), None, "a!"),
            (Some("a "), Some("a!"), "a P"),
            (Some("a~"), None, "b  "),
            (None, Some("Z "), "Y~~"),
            (Some("a1"), Some("a1!"), "a1 P"),
            (Some("a~P"), Some("b  "), "a~h"),
            (Some("Z~"), Some("a "), "Z~P"),
            (None, Some("a0V"), "a0"),
            (Some("a0"), Some("a0V"), "a0;"),
        ] {
            assert_eq!(between(a, b).unwrap(), key, "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_is_no_key_and_what_leaves_no_room_is_refused() {
        let smallest = format!("A{}", " ".repeat(26));
        for bad in ["", "a", "é", "aé", "a\u{1f}", "1a", "a  ", "b ", &smallest] {
            assert!(between(Some(bad), None).is_err(), "{bad:?} was taken");
            assert!(between(None, Some(bad)).is_err(), "{bad:?} was taken");
        }
        assert!(between(Some("a "), Some("a ")).is_err());
        assert!(between(Some("a!"), Some("a ")).is_err());
    }

    #[test]
    fn there_is_room_before_the_least_and_after_the_greatest_integer() {
        let next_to_smallest = format!("A{}!", " ".repeat(25));
        assert!(between(None, Some(&between(None, Some(&next_to_smallest)).unwrap())).is_ok());
        let greatest = format!("z{}", "~".repeat(26));
        assert_eq!(between(Some(&greatest), None).unwrap(), format!("{greatest}P"));
    }

    proptest! {
        #[test]
        fn a_list_stays_in_order_however_rows_are_inserted(places in prop::collection::vec(any::<prop::sample::Index>(), 1..300)) {
            let mut list: Vec<String> = Vec::new();
            for place in places {
                let at = place.index(list.len() + 1);
                let key = between(at.checked_sub(1).map(|i| list[i].as_str()), list.get(at).map(String::as_str)).unwrap();
                prop_assert!(Key::parse(&key).is_ok(), "{:?}", key);
                list.insert(at, key);
            }
            prop_assert!(list.is_sorted_by(|a, b| a < b));
        }

        #[test]
        fn a_narrowing_gap_never_closes(sides in prop::collection::vec(any::<bool>(), 1..400)) {
            let (mut low, mut high) = ("a ".to_owned(), "a!".to_owned());
            for lower in sides {
                let key = between(Some(&low), Some(&high)).unwrap();
                prop_assert!(low < key && key < high);
                if lower { low = key } else { high = key }
            }
        }

        #[test]
        fn no_text_makes_it_panic(a in prop::option::of("[ -~é]{0,30}"), b in prop::option::of("[ -~é]{0,30}")) {
            if let Ok(key) = between(a.as_deref(), b.as_deref()) {
                prop_assert!(a.is_none_or(|a| a < key) && b.is_none_or(|b| key < b));
                prop_assert!(Key::parse(&key).is_ok());
            }
        }
    }
}
