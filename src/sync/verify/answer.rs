//! The answer to a probe: what this copy's items say to the peer's.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::prefix::Prefix;
use super::prints::{self, Prints};
use super::probe::{Item, List, MAX_ITEMS, MAX_NODES, Node, Probe};
use super::row;
use crate::crr::sort::sort_by_key;
use crate::crr::{Change, WholeRow};
use crate::sync::error::Error;
use crate::sync::request::{Page, size_of};

/// How many items are listed instead of told by the sums of sixteen parts, which take as many bytes as half of them.
const FEW: u64 = 32;

/// Nodes are not split into more than this, so that there is room for those that are handed back.
const SPLIT: usize = MAX_NODES / 2;

/// An answer under way.
pub(super) struct Answer<'a> {
    prints: &'a Prints<'a>,
    page: Page,
    pub(super) nodes: Vec<Node>,
    pub(super) lists: Vec<List>,
    pub(super) wants: Vec<u64>,
    pub(super) rows: Vec<Change>,
    /// The places whose rows are in it.
    sent: BTreeSet<u64>,
    listed: usize,
    bytes: usize,
    is_full: bool,
    /// Whether a print was seen that is not that of its row.
    is_stale: bool,
}

impl<'a> Answer<'a> {
    pub(super) fn new(prints: &'a Prints<'a>, page: Page) -> Self {
        Self {
            prints,
            page,
            nodes: Vec::new(),
            lists: Vec::new(),
            wants: Vec::new(),
            rows: Vec::new(),
            sent: BTreeSet::new(),
            listed: 0,
            bytes: 0,
            is_full: false,
            is_stale: false,
        }
    }

    /// Answers all of a probe that was checked.
    pub(super) fn take(&mut self, probe: &Probe) -> Result<(), Error> {
        for &place in &probe.wants {
            if !self.send(place)? {
                self.hand_back(Prefix::of(place))?;
            }
        }
        for list in &probe.lists {
            self.compare(list.prefix, &list.items)?;
        }
        for node in &probe.nodes {
            self.look_into(node)?;
        }
        Ok(())
    }

    /// Puts nodes in order. Prints that turned out to be wrong are forgotten.
    pub(super) fn finish(mut self) -> Result<Self, Error> {
        sort_by_key(&mut self.nodes, |node| node.prefix);
        self.nodes.dedup_by(|next, node| node.prefix.contains(next.prefix.first()));
        self.nodes.truncate(MAX_NODES);
        if self.is_stale {
            prints::forget(self.prints.conn)?;
        }
        Ok(self)
    }

    fn look_into(&mut self, theirs: &Node) -> Result<(), Error> {
        let ours = self.prints.sum(theirs.prefix)?;
        if ours == theirs.sum {
            return Ok(());
        }
        if theirs.sum.count == 0 {
            return self.compare(theirs.prefix, &[]);
        }
        if ours.count <= FEW || theirs.prefix.depth() == Prefix::of(0).depth() {
            return self.list(theirs.prefix, ours.count);
        }
        if theirs.sum.count > FEW && self.nodes.len() < SPLIT {
            self.nodes.extend(self.prints.children(theirs.prefix)?);
            return Ok(());
        }
        self.hand_back(theirs.prefix)
    }

    fn list(&mut self, prefix: Prefix, count: u64) -> Result<(), Error> {
        if self.listed.saturating_add(count as usize) > MAX_ITEMS {
            return self.hand_back(prefix);
        }
        let items = self.prints.items(prefix)?;
        self.listed += items.len();
        self.lists.push(List { prefix, items });
        Ok(())
    }

    /// Leaves a prefix for later: the peer finds that its sum is another, and goes on from there.
    fn hand_back(&mut self, prefix: Prefix) -> Result<(), Error> {
        self.nodes.push(Node { prefix, sum: self.prints.sum(prefix)? });
        Ok(())
    }

    /// Compares all that the peer has under a prefix with what this copy has.
    fn compare(&mut self, prefix: Prefix, theirs: &[Item]) -> Result<(), Error> {
        if self.is_full {
            return self.hand_back(prefix);
        }
        let mut theirs = theirs.to_vec();
        sort_by_key(&mut theirs, |item| item.place);
        theirs.dedup_by_key(|item| item.place);
        let mut left = &*theirs;
        let mut stopped = None;
        self.prints.each_item(prefix, &mut |Item { place, print }| {
            let (missing, rest) = left.split_at(left.partition_point(|item| item.place < place));
            self.wants.extend(missing.iter().map(|item| item.place));
            left = rest;
            let known = left.first().filter(|item| item.place == place);
            if known.is_none_or(|known| known.print != print) {
                if !self.send(place)? {
                    stopped = Some(place);
                    return Ok(ControlFlow::Break(()));
                }
                self.wants.extend(known.map(|_| place));
            }
            if let (Some(_), [_, rest @ ..]) = (known, left) {
                left = rest;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let Some(place) = stopped else {
            self.wants.extend(left.iter().map(|item| item.place));
            return Ok(());
        };
        // Only what is left of it, or rows that no merging makes equal would be sent for ever.
        for prefix in prefix.from(place) {
            let sum = self.prints.sum(prefix)?;
            if sum.count > 0 || left.iter().any(|item| prefix.contains(item.place)) {
                self.nodes.push(Node { prefix, sum });
            }
        }
        Ok(())
    }

    /// Adds the rows of a place. False if they find no room.
    fn send(&mut self, place: u64) -> Result<bool, Error> {
        if self.is_full || self.sent.contains(&place) {
            return Ok(!self.is_full);
        }
        let mut rows = Vec::new();
        for (id, print) in self.prints.rows(place)? {
            let row = self.prints.engine.row(self.prints.conn, id)?;
            let now = row.as_ref().map(row::item).transpose()?;
            self.is_stale |= now != Some(Item { place, print });
            rows.extend(row);
        }
        let changes = || rows.iter().flat_map(|WholeRow { changes, .. }| changes);
        let bytes: usize = changes().map(size_of).sum();
        let is_over = self.rows.len() + changes().count() > self.page.changes || self.bytes + bytes > self.page.bytes;
        if is_over && !self.rows.is_empty() {
            self.is_full = true;
            return Ok(false);
        }
        self.bytes += bytes;
        self.sent.insert(place);
        self.rows.extend(rows.into_iter().flat_map(|row| row.changes));
        Ok(true)
    }
}
