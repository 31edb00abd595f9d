//! A history: replicas, the network between them, and what is checked after each step.

use std::rc::Rc;

use crsql_sync::crr::Version;
use crsql_sync::sync::session::Session;
use crsql_sync::sync::{Cursor, Request, SqlError, SqlLimits};

use super::model::{Model, Names};
use super::network::{Network, describe};
use super::node::Node;
use super::plan::{Kind, Plan};
use super::random::Random;
use super::sessions::Connection;
use super::storage::Fault;
use super::writes::Tables;

/// What went wrong.
pub type Checked<T = ()> = Result<T, String>;

/// Everything there is in a history.
pub struct World {
    pub plan: Plan,
    pub nodes: Vec<Node>,
    pub links: Vec<(usize, usize)>,
    pub network: Network,
    pub model: Model,
    pub names: Names,
    pub tables: &'static Tables,
    /// Whether anything was restored, so that transactions may be lost.
    pub restored: bool,
    /// Whether a site came back with less than it had, so that its numbers may name two transactions each. Then nothing is
    /// checked but the end.
    pub relapsed: bool,
    /// The links of sessions that are open, and the number of the last one.
    pub connections: Vec<Connection>,
    pub last_link: u64,
    /// What happened, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(plan: Plan, random: &mut Random, traced: bool) -> Self {
        let tables = Tables::number(plan.tables);
        let nodes = (0..plan.copies).map(|_| Node::open(tables.empty(random), random.number())).collect();
        let (network, model, names) = Default::default();
        let (links, trace) = (plan.links.clone(), traced.then(Vec::new));
        let (restored, relapsed, connections, last_link) = (false, false, Vec::new(), 0);
        let mut world = Self {
            plan,
            nodes,
            links,
            network,
            model,
            names,
            tables,
            restored,
            relapsed,
            connections,
            last_link,
            trace,
        };
        world.nodes.iter_mut().for_each(|node| node.session = Session::new(world.plan.session));
        world
    }

    /// Says what happens, where somebody wants to know.
    pub fn tell(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = what(self);
            self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    pub fn step(&mut self, random: &mut Random) -> Checked {
        self.act(random)?;
        self.tell_sessions(random)
    }

    fn act(&mut self, random: &mut Random) -> Checked {
        match random.weighed(&self.plan.kinds) {
            Kind::Write => self.write(random),
            Kind::Deliver => (0..random.within(1..4)).try_for_each(|_| self.deliver(random)),
            Kind::Pull => {
                let (from, to) = self.pair(random);
                self.pull(from, to, random)
            }
            Kind::Stream => self.stream(random),
            Kind::Push => self.push(random),
            Kind::Retry => self.retry(random),
            Kind::AskVersions => {
                let (from, to) = self.pair(random);
                self.ask_versions(from, to, random)
            }
            Kind::Broadcast => self.broadcast(random),
            Kind::Relay => self.relay(random),
            Kind::Crash => self.crash(random),
            Kind::BackUp => {
                self.back_up(random);
                Ok(())
            }
            Kind::Restore => self.restore(random),
            Kind::Relapse => self.relapse(random),
            Kind::Copy => self.copy(random),
            Kind::BeginAgain => {
                let (node, peer) = self.pair(random);
                self.begin_again(node, peer)
            }
            Kind::Connect => self.connect_or_hang_up(random),
            Kind::Wake => self.wake(random),
            Kind::Partition => {
                self.network.partition(&self.links, random);
                Ok(())
            }
            Kind::Migrate => {
                let node = self.any(random);
                self.migrate(node)
            }
        }
    }

    pub fn any(&self, random: &mut Random) -> usize {
        random.within(0..self.nodes.len())
    }

    /// Two that are linked.
    pub fn pair(&self, random: &mut Random) -> (usize, usize) {
        let (a, b) = *random.pick(&self.links);
        if random.chance(50) { (a, b) } else { (b, a) }
    }

    pub fn fault(&self, random: &mut Random) -> Option<Fault> {
        if !random.chance(self.plan.faults) {
            return None;
        }
        Some(match random.chance(30) {
            true => Fault::AtCommit(random.within(1..3) as u32),
            false => Fault::After(random.within(1..300) as u32),
        })
    }

    /// Looks whether all rules hold for a replica that something happened to.
    pub fn check(&mut self, node: usize) -> Checked {
        let node = &mut self.nodes[node];
        if node.seen.as_ref().is_some_and(|seen| Rc::ptr_eq(seen, &node.image)) {
            return Ok(());
        }
        let view = node.look(&mut self.names);
        if self.relapsed {
            node.view = view;
            return Ok(());
        }
        node.compare(&node.view, &view)?;
        node.forgiven.clear();
        if let Some(write) = self.model.false_claim(&view.state, &view.clock) {
            return Err(format!(
                "claimed, neither there nor beaten: {}\n  clock {}",
                self.names.describe(write),
                describe(&view.clock)
            ));
        }
        if let Some((shown, hidden)) = self.model.half_visible(&view.state, &view.clock) {
            let (shown, hidden) = (self.names.describe(shown), self.names.describe(hidden));
            return Err(format!("half visible: {shown} is there, {hidden} is not"));
        }
        node.view = view;
        node.seen = Some(node.image.clone());
        Ok(())
    }

    fn write(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        let statements = self.tables.transaction(random, self.nodes[node].migrated);
        let fault = self.fault(random).map(|_| Fault::AtCommit(1));
        let text: Vec<_> = statements.iter().map(|sql| &*sql.sql).collect();
        self.tell(|_| format!("{node} writes {}", text.join("; ")));
        let limits = SqlLimits {
            rows: 100,
            bytes: 10_000,
            time: std::time::Duration::from_secs(60),
            read_only: false,
            tables: None,
        };
        let before = self.nodes[node].replica.version().unwrap();
        match self.nodes[node].call(fault, |replica| replica.sql(&statements, limits))? {
            Ok(_) => {}
            Err(SqlError::Refused { .. } | SqlError::Replica(_)) => return Ok(()),
            Err(error) => return Err(format!("{error}")),
        }
        self.note_written(node, before)?;
        self.check(node)
    }

    /// Tells the model of a transaction that was just committed.
    fn note_written(&mut self, node: usize, before: Version) -> Checked {
        let node = &mut self.nodes[node];
        let site = node.site;
        let batch = node.replica.request_changes(&Request::after(Cursor { site, version: before }.into()));
        let batch = batch.map_err(|error| error.to_string())?;
        let version = batch.end.unwrap();
        if version == before || self.relapsed {
            return Ok(());
        }
        if version.get() != before.get() + 1 {
            return Err(format!("one transaction took the versions from {before} to {version}"));
        }
        let writes = batch.changes.iter().map(|change| self.names.write(change)).collect();
        self.model.add((site, version), writes);
        Ok(())
    }
}
