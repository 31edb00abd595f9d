//! Sorting in little code.
//!
//! The standard library's sort is compiled anew for every type and order: five kilobytes each, a hundred in the browser's
//! module. There this one sorts positions, by one copy of that code, and then moves the items. Elsewhere speed is worth more.
//! Either way it is stable.
//!
//! To `collect` into a B-tree sorts as well, by code for the type; to `extend` an empty one does not.

use std::cmp::Ordering;

pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

pub(crate) fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    if cfg!(target_family = "wasm") {
        sort_by_position(items, &compare);
    } else {
        items.sort_by(compare);
    }
}

fn sort_by_position<T>(items: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) {
    // Most of what is sorted came in order.
    if items.is_sorted_by(|a, b| compare(a, b).is_le()) {
        return;
    }
    let mut sources = sources(items.len(), &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => compare(a, b),
        _ => Ordering::Equal,
    });
    rearrange(&mut sources, &mut |a, b| items.swap(a, b));
}

/// For each place of the sorted list, where its item is now.
fn sources(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut sources: Vec<usize> = (0..len).collect();
    sources.sort_by(|a, b| compare(*a, *b));
    sources
}

/// Brings every item to its place, along the rings of items that take each other's places.
fn rearrange(sources: &mut [usize], swap: &mut dyn FnMut(usize, usize)) {
    for first in 0..sources.len() {
        let mut place = first;
        while let Some(source) = sources.get_mut(place).map(|source| std::mem::replace(source, place)) {
            if source == first {
                break;
            }
            swap(place, source);
            place = source;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_sort_as_the_standard_library_does(mut items: Vec<(u8, u16)>) {
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            sort_by_position(&mut items, &|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(items, expected);
        }
    }
}
