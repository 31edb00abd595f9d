//! What two copies that compare themselves say to each other.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::prefix::Prefix;
use crate::crr::SiteId;
use crate::sync::batch::{Batch, Protocol, SchemaHash};
use crate::sync::json::{self, Hex};

/// How many nodes a probe may have.
pub(super) const MAX_NODES: usize = 4096;

/// How many items its lists may have together, and how many places it may want.
pub(super) const MAX_ITEMS: usize = 4096;

/// One message of an exchange: see the [module](super).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Always 1; another version is refused.
    pub protocol: Protocol,
    /// The site that sends it.
    #[serde(with = "json::text")]
    pub from: SiteId,
    /// The schema whose rows are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaHash>,
    /// Number and sum of all the sender's items.
    pub root: Sum,
    /// Sums of the sender that the receiver compares with its own. Ascending, and none under another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// All that the sender has under some prefixes. Ascending, and none under another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<List>,
    /// The places whose rows the sender asks for. As JSON one text of 16 hexadecimal digits for each.
    #[serde(default, with = "places", skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<u64>,
    /// Rows that the receiver lacks, or has otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Batch>,
}

impl Probe {
    /// Whether it asks nothing and brings nothing but its sender's root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.lists.is_empty() && self.wants.is_empty() && self.repair.is_none()
    }

    /// What is wrong with it. Its batch is checked where that is applied.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.nodes.len() > MAX_NODES {
            return Err("more than 4096 nodes");
        }
        if self.lists.len() > MAX_NODES || self.lists.iter().map(|list| list.items.len()).sum::<usize>() > MAX_ITEMS {
            return Err("more than 4096 lists, or items of lists");
        }
        if self.wants.len() > MAX_ITEMS {
            return Err("more than 4096 places in `wants`");
        }
        // Otherwise a short message could ask for the same work again and again.
        if !are_apart(self.nodes.iter().map(|node| node.prefix))
            || !are_apart(self.lists.iter().map(|list| list.prefix))
        {
            return Err("the prefixes are not in order, or one begins with another");
        }
        if self.lists.iter().any(|list| list.items.iter().any(|item| !list.prefix.contains(item.place))) {
            return Err("an item does not have the prefix of its list");
        }
        Ok(())
    }
}

/// Whether prefixes come in ascending order, none under another.
fn are_apart(mut prefixes: impl Iterator<Item = Prefix>) -> bool {
    let Some(mut last) = prefixes.next() else { return true };
    prefixes.all(|prefix| std::mem::replace(&mut last, prefix).last() < prefix.first())
}

/// How many items there are, and the sum of their prints modulo 2^128. As JSON `[count, sum]`, where the sum has 32
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(u64, String)", try_from = "(u64, String)")]
pub struct Sum {
    /// How many rows.
    pub count: u64,
    /// What their prints add up to.
    pub sum: u128,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count = self.count.wrapping_sub(other.count);
        self.sum = self.sum.wrapping_sub(other.sum);
    }
}

impl From<Sum> for (u64, String) {
    fn from(sum: Sum) -> Self {
        (sum.count, hex::encode(sum.sum.to_be_bytes()))
    }
}

impl TryFrom<(u64, String)> for Sum {
    type Error = hex::FromHexError;

    fn try_from((count, sum): (u64, String)) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(sum, &mut bytes)?;
        Ok(Self { count, sum: u128::from_be_bytes(bytes) })
    }
}

/// The sum of all items under a prefix. As JSON `[prefix, [count, sum]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The prefix.
    pub prefix: Prefix,
    /// The sum.
    pub sum: Sum,
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.prefix.to_string(), self.sum).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (prefix, sum) = <(String, Sum)>::deserialize(deserializer)?;
        Ok(Self { prefix: prefix.parse().map_err(de::Error::custom)?, sum })
    }
}

/// All items under a prefix. As JSON `[prefix, items]`, one text of 48 hexadecimal digits for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The prefix.
    pub prefix: Prefix,
    /// The items, in any order.
    pub items: Vec<Item>,
}

/// A place, and the print of the row there. Where the places of several rows are the same, the sum of their prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The row's name, hashed.
    pub place: u64,
    /// Its state, hashed.
    pub print: u128,
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.items.iter().flat_map(|item| {
            let (place, print) = (item.place.to_be_bytes(), item.print.to_be_bytes());
            place.into_iter().chain(print)
        });
        (self.prefix.to_string(), hex::encode(bytes.collect::<Vec<u8>>())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (prefix, items) = <(String, Hex)>::deserialize(deserializer)?;
        let (items, rest) = items.0.as_chunks::<24>();
        if !rest.is_empty() {
            return Err(de::Error::custom("an item of a list has 48 hexadecimal digits"));
        }
        let item = |bytes: &[u8; 24]| {
            let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
            let (place, print) = bytes.split_at(8);
            Item { place: number(place) as u64, print: number(print) }
        };
        Ok(Self { prefix: prefix.parse().map_err(de::Error::custom)?, items: items.iter().map(item).collect() })
    }
}

/// Places as one text.
mod places {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Hex;

    pub(super) fn serialize<S: Serializer>(places: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = places.iter().flat_map(|place| place.to_be_bytes()).collect();
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let bytes = Hex::deserialize(deserializer)?.0;
        let (places, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(de::Error::custom("a place has 16 hexadecimal digits"));
        }
        Ok(places.iter().map(|place| u64::from_be_bytes(*place)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBE: &str = r#"{
        "protocol":1,"from":"9a000000000000000000000000000000","schema":"5b",
        "root":[3,"000000000000000000000000000000ff"],
        "nodes":[["",[3,"000000000000000000000000000000ff"]]],
        "lists":[["a3",""],["a4","a40000000000000100000000000000000000000000000002"]],
        "wants":"a300000000000000ffffffffffffffff",
        "repair":{"protocol":1,"from":"9a000000000000000000000000000000","covers":{},"more":false,"changes":[]}}"#;

    fn read(text: &str) -> Result<Probe, String> {
        let probe: Probe = serde_json::from_str(text).map_err(|error| error.to_string())?;
        probe.check()?;
        Ok(probe)
    }

    fn read_with(from: &str, to: &str) -> Result<Probe, String> {
        assert!(PROBE.contains(from), "{from}");
        read(&PROBE.replace(from, to))
    }

    #[test]
    fn a_probe_reads_as_it_was_written() {
        let probe = read(PROBE).unwrap();
        assert_eq!((probe.root.count, probe.root.sum), (3, 255));
        assert_eq!(probe.lists[1].items, [Item { place: 0xa4 << 56 | 1, print: 2 }]);
        assert_eq!(probe.wants, [0xa3 << 56, u64::MAX]);
        assert!(!probe.is_empty());
        let written = serde_json::to_string(&probe).unwrap();
        assert_eq!(written, PROBE.split_whitespace().collect::<String>());
        let least = read(
            r#"{"protocol":1,"from":"9a000000000000000000000000000000","root":[0,"00000000000000000000000000000000"],"later":1}"#,
        );
        assert!(least.unwrap().is_empty());
    }

    #[test]
    fn a_probe_that_is_wrong_is_refused() {
        for (from, to) in [
            (r#""protocol":1,"from":"9a000000000000000000000000000000","schema""#, r#""protocol":2,"schema""#),
            (r#""root":[3,"00"#, r#""root":[3,""#),
            (r#""root":[3,"00"#, r#""root":[3,"zz"#),
            (r#""root":[3"#, r#""root":[-1"#),
            (r#""root":[3"#, r#""root":[3.5"#),
            (r#"[["",["#, r#"[["g",["#),
            (r#"[["",["#, r#"[["00000000000000000",["#),
            (r#"[["",["#, r#"[["",[3,"000000000000000000000000000000ff"]],["a",["#),
            (r#"["a3",""]"#, r#"["a5",""]"#),
            (r#"["a3",""]"#, r#"["a4",""]"#),
            (r#"["a3",""]"#, r#"["a",""]"#),
            (r#"["a3",""]"#, r#"["a3","00"]"#),
            (r#"["a3",""]"#, r#"["a3",1]"#),
            (r#""a4000"#, r#""a5000"#),
            (r#""wants":"a3"#, r#""wants":""#),
            (r#""changes":[]"#, r#""changes":[[]]"#),
        ] {
            assert!(read_with(from, to).is_err(), "{to}");
        }
    }

    #[test]
    fn a_probe_that_is_too_long_is_refused() {
        let probe = read(PROBE).unwrap();
        let prefixes: Vec<Prefix> = (0..5000).map(|n| Prefix::at(n << 48, 4)).collect();
        let nodes = prefixes.iter().map(|&prefix| Node { prefix, sum: Sum::default() }).collect();
        assert!(Probe { nodes, ..probe.clone() }.check().is_err());
        let lists = prefixes.iter().map(|&prefix| List { prefix, items: vec![] }).collect();
        assert!(Probe { lists, ..probe.clone() }.check().is_err());
        let items = vec![Item { place: 1, print: 1 }; 5000];
        assert!(Probe { lists: vec![List { prefix: Prefix::ROOT, items }], ..probe.clone() }.check().is_err());
        assert!(Probe { wants: vec![1; 5000], ..probe }.check().is_err());
    }
}
