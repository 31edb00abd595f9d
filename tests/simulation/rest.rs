//! The end of a history: all links work, everybody hears everything, and then all are equal.

use crsql_sync::sync::Page;
use rusqlite::types::Value;

use super::model::State;
use super::network::describe;
use super::plan::Way;
use super::random::Random;
use super::world::{Checked, World};

impl World {
    /// Lets replicas talk until nothing moves, and sees that they agree.
    pub fn rest(&mut self, random: &mut Random) -> Checked {
        self.network.heal();
        self.plan.drops = 0;
        self.plan.faults = 0;
        if self.plan.migrates {
            (0..self.nodes.len()).try_for_each(|node| self.migrate(node))?;
            self.tell_sessions(random)?;
        }
        self.tell(|_| "rest".into());
        self.take_refused(random)?;
        match self.plan.way {
            Way::Sessions => self.settle_sessions(random)?,
            _ => self.settle(random)?,
        }
        if self.relapsed { self.agree_once_verified() } else { self.agree() }
    }

    /// Everybody takes what it refused.
    fn take_refused(&mut self, random: &mut Random) -> Checked {
        self.plan.refuses = 0;
        for (a, b) in self.links.clone() {
            for (node, peer) in [(a, b), (b, a)] {
                for (of, batch) in self.refused(node, peer)? {
                    self.apply(peer, &batch, random)?.ok_or("what was refused is not taken at rest")?;
                    let site = self.nodes[peer].site;
                    let released = self.nodes[node].call(None, |replica| replica.release(site, of))?;
                    released.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Lets replicas talk until nothing moves.
    pub fn settle(&mut self, random: &mut Random) -> Checked {
        for _ in 0..4 * self.nodes.len() + 10 {
            let moved = match self.plan.way {
                // Chance may have left a direction out.
                Way::Mixed => self.round(Way::Mixed, random)? || self.round(Way::Cursors, random)?,
                way => self.round(way, random)?,
            };
            if !moved {
                return Ok(());
            }
        }
        Err("they do not come to rest".into())
    }

    /// Everybody talks to all that it is linked to. Whether anything moved.
    fn round(&mut self, way: Way, random: &mut Random) -> Checked<bool> {
        let before: Vec<_> = self.nodes.iter().map(|node| node.image.clone()).collect();
        for (a, b) in self.links.clone() {
            for (node, peer) in [(a, b), (b, a)] {
                let way = match way {
                    Way::Mixed => *random.pick(&[Way::Cursors, Way::Pushes, Way::Versions]),
                    way => way,
                };
                match way {
                    Way::Cursors => self.pull_all(node, peer, random)?,
                    Way::Pushes => self.push_all(node, peer, random)?,
                    _ => self.ask_all(node, peer, random)?,
                }
            }
        }
        Ok(self.nodes.iter().zip(before).any(|(node, before)| node.image != before))
    }

    fn pull_all(&mut self, node: usize, peer: usize, random: &mut Random) -> Checked {
        for _ in 0..MANY {
            let mut request = self.pull_request(node, peer, random);
            request.until = None;
            let batch = self.nodes[peer].call(None, |replica| replica.request_changes(&request))?;
            let batch = batch.map_err(|error| error.to_string())?;
            self.tell(|_| format!("{node} pulls from {peer} since {}: {}", request.since, text(&batch)));
            if self.apply(node, &batch, random)?.is_none() && self.plan.faults == 0 {
                return Err("a pull at rest was refused".into());
            }
            if !batch.more {
                return Ok(());
            }
        }
        Err(format!("{node} pulls from {peer} for ever"))
    }

    fn push_all(&mut self, node: usize, peer: usize, random: &mut Random) -> Checked {
        let (site, receiver) = (self.nodes[node].site, self.nodes[peer].site);
        for _ in 0..MANY {
            let Some(batch) = self.next_push(node, peer, random)? else { return Ok(()) };
            self.tell(|_| format!("{node} pushes to {peer}: {}", text(&batch)));
            match self.try_apply(peer, &batch, random)? {
                Ok(()) if batch.start.is_none() => {}
                Ok(()) => self.acknowledge(node, receiver, batch.next.ok_or("no next")?, random)?,
                Err(crsql_sync::sync::ApplyError::OutOfOrder { expected }) => self.go_back(node, receiver, expected)?,
                Err(_) if self.plan.faults > 0 => {}
                Err(error) => return Err(format!("a push at rest was refused: {error}")),
            }
        }
        Err(format!("{site} pushes for ever"))
    }

    fn ask_all(&mut self, node: usize, peer: usize, random: &mut Random) -> Checked {
        for _ in 0..MANY {
            let mut request = self.versions_request(node, peer, random);
            request.wanted = crsql_sync::sync::Wanted::AllBut(self.nodes[node].view.clock.clone());
            let batch = self.nodes[peer].call(None, |replica| replica.request_versions(&request))?;
            let batch = batch.map_err(|error| error.to_string())?;
            self.tell(|_| format!("{node} asks {peer} for {request:?}: {}", text(&batch)));
            if self.apply(node, &batch, random)?.is_none() && self.plan.faults == 0 {
                return Err("an answer at rest was refused".into());
            }
            if !batch.more {
                return Ok(());
            }
        }
        Err(format!("{node} asks {peer} for ever"))
    }

    /// Whether all replicas are equal, and know that they are.
    fn agree(&mut self) -> Checked {
        let lost = self.model.rows_not_in(&self.nodes[0].view.clock);
        if !self.restored && !lost.is_empty() {
            return Err("a transaction is held by nobody".into());
        }
        let kept = |state: &State| {
            let rows = state.iter().enumerate().filter(|(row, _)| !lost.contains(row));
            rows.filter(|(_, row)| row.cl > 0).map(|(row, state)| (row, state.agreed())).collect::<Vec<_>>()
        };
        let (first, rest) = self.nodes.split_at(1);
        let expected = kept(&first[0].view.state);
        for (at, node) in rest.iter().enumerate() {
            let (a, b) = (&first[0].view.clock, &node.view.clock);
            if a != b {
                return Err(format!("clocks differ at rest: 0 {}, {} {}", describe(a), at + 1, describe(b)));
            }
            let state = kept(&node.view.state);
            if state != expected {
                let names = &self.names;
                let cells = |of: &[(usize, super::model::RowState)], other: &[(usize, super::model::RowState)]| {
                    let other: Vec<_> = other.iter().flat_map(|(_, row)| row.cells.clone()).collect();
                    let cells = of.iter().flat_map(|(_, row)| &row.cells).filter(|cell| !other.contains(cell));
                    cells.map(|cell| format!("\n    {}", names.describe(cell))).collect::<String>()
                };
                let (here, there) = (cells(&expected, &state), cells(&state, &expected));
                return Err(format!("replicas differ at rest:\n  0 has{here}\n  {} has{there}", at + 1));
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if !node.replica.pieces().unwrap().is_empty() && !self.restored {
                return Err(format!("at rest, {at} keeps pieces"));
            }
            let wrong = node.replica.check().unwrap();
            if !wrong.is_empty() {
                return Err(format!("at rest, {at} is damaged: {wrong:?}"));
            }
            if node.view.waiting {
                return Err(format!("at rest, {at} waits for a migration"));
            }
            if !(self.restored || node.view.missing.is_empty()) {
                return Err(format!("at rest, {at} misses {}", describe(&node.view.missing)));
            }
        }
        if lost.is_empty()
            && let Some(write) = self.model.invented(&self.nodes[0].view.state)
            && !self.plan.migrates
        {
            return Err(format!("nobody wrote {}", self.names.describe(write)));
        }
        if lost.is_empty() && !self.plan.migrates { self.agree_in_tables() } else { Ok(()) }
    }

    fn agree_in_tables(&self) -> Checked {
        let mut rows = (0..self.nodes.len()).map(|node| self.rows(node));
        let first = rows.next();
        if rows.any(|rows| Some(rows) != first) {
            return Err("tables differ at rest".into());
        }
        Ok(())
    }

    /// Where a site came back as itself with less than it had, cursors and claims may count on what is gone. Once
    /// they have compared the rows themselves, replicas are equal all the same.
    fn agree_once_verified(&mut self) -> Checked {
        for _ in 0..self.nodes.len() {
            self.links.clone().into_iter().try_for_each(|(a, b)| self.verify(a, b))?;
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let wrong = node.replica.check().unwrap();
            if !wrong.is_empty() {
                return Err(format!("at rest, {at} is damaged: {wrong:?}"));
            }
        }
        self.agree_in_tables()
    }

    fn verify(&mut self, a: usize, b: usize) -> Checked {
        let mut probe = self.nodes[a].replica.verify_begin().unwrap();
        let mut ends = [b, a].into_iter().cycle();
        for _ in 0..MANY {
            let node = ends.next().ok_or("no end")?;
            if let Some(repair) = &probe.repair {
                let applied = self.nodes[node].call(None, |replica| replica.apply_changes(repair))?;
                applied.map_err(|error| format!("a repair was refused: {error}"))?;
            }
            let verified = self.nodes[node].call(None, |replica| replica.verify(&probe, Page::default()))?;
            let verified = verified.map_err(|error| error.to_string())?;
            if verified.equal {
                return Ok(());
            }
            // An exchange may end before it is known to have made them equal.
            let ended = verified.reply.is_empty();
            probe = if ended { self.nodes[node].replica.verify_begin().unwrap() } else { verified.reply };
        }
        Err(format!("{a} and {b} verify for ever"))
    }

    /// What the tables hold.
    fn rows(&self, node: usize) -> Vec<Vec<Value>> {
        let mut all = Vec::new();
        for table in self.tables.names.chars() {
            let conn = self.nodes[node].replica.connection();
            let mut statement = conn.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
            let columns = statement.column_count();
            let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
            all.extend(rows.map(Result::unwrap));
        }
        all
    }
}

fn text(batch: &crsql_sync::sync::Batch) -> String {
    serde_json::to_string(batch).unwrap()
}

/// More pages than any history fills.
const MANY: usize = 5000;
