//! One replica of a history, its disk, and what it was seen to hold.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crsql_sync::crr::{SiteId, Version};
use crsql_sync::sync::session::Session;
use crsql_sync::sync::{Clock, Page, Replica, Request, Since};

use super::model::{Names, State, short};
use super::storage::{self, Fault, Image};

/// What a replica says of itself.
#[derive(Clone, Default)]
pub struct View {
    pub state: State,
    pub clock: Clock,
    pub missing: Clock,
    /// What it has received of each peer, and what that has acknowledged.
    pub cursors: BTreeMap<SiteId, (Since, Version)>,
    pub waiting: bool,
}

/// How a push is under way; lost in a crash.
#[derive(Clone, Copy)]
pub struct Push {
    pub acknowledged: Since,
    pub read: Since,
}

/// A replica.
pub struct Node {
    pub replica: Replica,
    pub site: SiteId,
    /// What is on its disk.
    pub image: Image,
    /// What it held when it was looked at, and what was on its disk then.
    pub view: View,
    pub seen: Option<Image>,
    pub backups: Vec<(Image, View)>,
    pub pushes: BTreeMap<SiteId, Push>,
    /// How far peers were sent what they asked for; lost in a crash.
    pub streams: BTreeMap<SiteId, Since>,
    /// Peers whose cursors may go back, since that was asked for.
    pub forgiven: Vec<SiteId>,
    pub migrated: bool,
    /// Lost in a crash, when it wants to be woken, and what was on the disk when it was told last.
    pub session: Session,
    pub wake_at: Option<Duration>,
    pub told: Option<Image>,
    seed: u64,
}

impl Node {
    /// Opens what is on a disk.
    pub fn open(image: Image, seed: u64) -> Self {
        let replica = Replica::open(storage::open(&image, seed)).unwrap();
        Self::new(replica, image, seed)
    }

    /// Opens a copy of what is on a disk, as another site.
    pub fn open_copy(image: &Image, seed: u64) -> Self {
        let replica = Replica::open_copy(storage::open(image, seed)).unwrap();
        let image = storage::bytes(replica.connection()).into();
        Self::new(replica, image, seed)
    }

    fn new(replica: Replica, image: Image, seed: u64) -> Self {
        let (view, backups, pushes, forgiven) = (View::default(), Vec::new(), BTreeMap::new(), Vec::new());
        let (site, migrated, seen) = (replica.site(), false, None);
        let (session, wake_at, told, streams) = (Session::default(), None, None, BTreeMap::new());
        Self {
            replica,
            site,
            image,
            view,
            seen,
            backups,
            pushes,
            forgiven,
            migrated,
            session,
            wake_at,
            told,
            streams,
            seed,
        }
    }

    /// Stops, and begins again with what is on the disk.
    pub fn crash(&mut self) {
        self.replica = Replica::open(storage::open(&self.image, self.seed)).unwrap();
        self.pushes.clear();
        self.streams.clear();
        self.seen = None;
    }

    /// Does something that may fail. What failed must have changed nothing.
    pub fn call<T, E: std::fmt::Debug>(
        &mut self,
        fault: Option<Fault>,
        work: impl FnOnce(&mut Replica) -> Result<T, E>,
    ) -> Result<Result<T, E>, String> {
        let result = match fault {
            Some(fault) => storage::with_fault(&mut self.replica, Replica::connection, fault, work),
            None => work(&mut self.replica),
        };
        let bytes = storage::bytes(self.replica.connection());
        if bytes != &*self.image {
            if let Err(error) = &result {
                return Err(format!("an error changed the database: {error:?}"));
            }
            self.image = Rc::from(bytes);
        }
        Ok(result)
    }

    /// What it says of itself now.
    pub fn look(&mut self, names: &mut Names) -> View {
        let page = Page { changes: usize::MAX, bytes: usize::MAX };
        let all = self.replica.request_changes(&Request { page, ..Request::after(Since::Beginning) }).unwrap();
        let peers = self.replica.status().unwrap();
        let cursor = |peer| (self.replica.received(peer).unwrap(), self.replica.acknowledged(peer).unwrap());
        let version = |since| match since {
            Since::After(cursor) => cursor.version,
            _ => Version::ZERO,
        };
        let sites = peers.peers.iter().map(|peer| peer.site);
        // A place inside the first version of a peer, of which there is no cursor yet.
        let sites = sites.chain(self.view.cursors.keys().copied());
        let cursors = sites.map(|site| (site, cursor(site))).map(|(site, (a, b))| (site, (a, version(b))));
        View {
            state: names.state(&all.changes),
            clock: self.replica.clock().unwrap(),
            missing: peers.missing,
            cursors: cursors.collect(),
            waiting: peers.waiting > 0,
        }
    }

    /// What must not have happened between two looks.
    pub fn compare(&self, before: &View, now: &View) -> Result<(), String> {
        if !now.clock.covers(&before.clock) {
            return Err(format!("claims are gone: {:?}, now {:?}", before.clock, now.clock));
        }
        let all = now.clock.union(&now.missing);
        if !now.clock.intersection(&now.missing).is_empty() {
            return Err(format!("missing, and claimed: {:?} {:?}", now.clock, now.missing));
        }
        for (site, versions) in all.iter() {
            let last = versions.last().unwrap_or(Version::ZERO);
            if all.contiguous(site) != last {
                return Err(format!("neither missing nor claimed, before {}: {:?}", short((site, last)), now.clock));
            }
        }
        for (site, (received, acknowledged)) in &before.cursors {
            let gone = (Since::Beginning, Version::ZERO);
            let (now_received, now_acknowledged) = now.cursors.get(site).unwrap_or(&gone);
            let went_back = received.is_later_than(now_received) || acknowledged > now_acknowledged;
            if went_back && !self.forgiven.contains(site) {
                return Err(format!("a cursor of {site} went back: {received} to {now_received}"));
            }
        }
        Ok(())
    }
}
