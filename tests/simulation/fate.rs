//! What befalls replicas.

use crsql_sync::crr::Version;
use crsql_sync::sync::MigrateError;
use crsql_sync::sync::session::Session;

use super::model::short;
use super::node::Node;
use super::random::Random;
use super::world::{Checked, World};

impl World {
    /// A replica stops, and begins again with what is on its disk.
    pub fn crash(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        self.tell(|_| format!("{node} crashes"));
        self.nodes[node].crash();
        self.check(node)?;
        self.lose_session(node, random)
    }

    pub fn back_up(&mut self, random: &mut Random) {
        let node = self.any(random);
        self.tell(|_| format!("{node} is backed up"));
        let node = &mut self.nodes[node];
        node.backups.push((node.image.clone(), node.view.clone()));
    }

    /// A replica comes back with less than it had, and goes on under its old name. Its peers notice, and it hears from them
    /// before it writes.
    pub fn relapse(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        let Some((image, view)) = self.nodes[node].backups.pop() else { return Ok(()) };
        self.tell(|_| format!("{node} comes back as itself"));
        let it = &mut self.nodes[node];
        (it.image, it.view) = (image, view);
        it.crash();
        self.relapsed = true;
        self.network.heal();
        let (site, at) = (self.nodes[node].site, self.nodes[node].replica.at().unwrap());
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            let received = self.nodes[peer].replica.received(site).unwrap();
            if received.is_later_than(&at.into()) {
                self.begin_again(peer, node)?;
            }
        }
        self.settle(random)
    }

    pub fn restore(&mut self, random: &mut Random) -> Checked {
        let node = self.any(random);
        let backups = std::mem::take(&mut self.nodes[node].backups);
        if backups.is_empty() {
            return Ok(());
        }
        let (image, view) = random.pick(&backups).clone();
        let mut restored = Node::open_copy(&image, random.number());
        self.tell(|_| format!("{node} comes back as {}", short((restored.site, Version::MIN))));
        let migrated = restored.replica.schema().map(|schema| schema.hash()) == Some(self.tables.schemas[1].hash());
        (restored.view, restored.backups, restored.migrated) = (view, backups, migrated);
        restored.forgiven = restored.view.cursors.keys().copied().collect();
        self.nodes[node] = restored;
        self.restored = true;
        self.check(node)?;
        self.lose_session(node, random)
    }

    pub fn copy(&mut self, random: &mut Random) -> Checked {
        let original = self.any(random);
        if self.nodes.len() > 9 {
            return Ok(());
        }
        let node = self.nodes.len();
        let mut copy = Node::open_copy(&self.nodes[original].image, random.number());
        self.tell(|_| format!("{node} is a copy of {original}: {}", copy.site));
        copy.session = Session::new(self.plan.session);
        (copy.view, copy.migrated) = (self.nodes[original].view.clone(), self.nodes[original].migrated);
        copy.forgiven = copy.view.cursors.keys().copied().collect();
        self.links.push((random.within(0..node), node));
        self.nodes.push(copy);
        self.check(node)
    }

    pub fn migrate(&mut self, node: usize) -> Checked {
        self.tell(|_| format!("{node} migrates"));
        let schema = &self.tables.schemas[1];
        let it = &mut self.nodes[node];
        match it.call(None, |replica| replica.create_or_migrate_database(schema, &[]))? {
            Ok(_) => it.migrated = true,
            Err(error @ MigrateError::Refused { .. }) => return Err(error.to_string()),
            Err(error) => return Err(error.to_string()),
        }
        self.check(node)
    }

    pub fn begin_again(&mut self, node: usize, peer: usize) -> Checked {
        self.forget(node, self.nodes[peer].site)
    }
}
