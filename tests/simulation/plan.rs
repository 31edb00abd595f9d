//! What a seed decides before the history begins: who there is, how they are linked, and what goes wrong.

use std::time::Duration;

use crsql_sync::sync::{Page, session};

use super::random::Random;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A local transaction.
    Write,
    /// Some messages arrive, or get lost.
    Deliver,
    /// Asks a peer for what comes after a cursor.
    Pull,
    /// Sends the next of a stream that a peer asked for, whether the one before arrived or not.
    Stream,
    /// Sends a peer what it has not acknowledged.
    Push,
    /// Sends a peer again what it refused.
    Retry,
    /// Asks a peer for transactions.
    AskVersions,
    /// Sends the newest transaction to whoever hears it.
    Broadcast,
    /// Sends some transaction on that another one wrote.
    Relay,
    /// Stops, and begins again with what is on the disk.
    Crash,
    /// Keeps a backup.
    BackUp,
    /// Comes back from a backup, as another site.
    Restore,
    /// Comes back from a backup, as the same site: something that nobody should do.
    Relapse,
    /// A copy of a live replica joins.
    Copy,
    /// Begins again with a peer that lost nothing.
    BeginAgain,
    /// Opens a link of sessions, or closes it.
    Connect,
    /// Time passes until a session wants to be woken.
    Wake,
    /// Cuts some links, or mends all.
    Partition,
    /// Gives one replica the later schema.
    Migrate,
}

impl Kind {
    /// Whether it sends what sessions send by themselves.
    fn is_of_exchange(self) -> bool {
        matches!(self, Self::Pull | Self::Stream | Self::Push | Self::AskVersions | Self::Broadcast | Self::Relay)
    }
}

/// How replicas come to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Cursors,
    Pushes,
    Versions,
    Mixed,
    Sessions,
}

/// The choices of a seed.
#[derive(Debug)]
pub struct Plan {
    pub tables: usize,
    pub copies: usize,
    pub links: Vec<(usize, usize)>,
    pub steps: usize,
    pub kinds: Vec<(usize, Kind)>,
    pub way: Way,
    /// Every batch goes through its text.
    pub json: bool,
    pub small_pages: bool,
    /// Messages arrive in another order than they were sent.
    pub reorders: bool,
    /// In percent.
    pub drops: usize,
    pub repeats: usize,
    pub faults: usize,
    /// Pushes that are refused for one of their transactions.
    pub refuses: usize,
    /// Whether askers name what they hold.
    pub known: bool,
    /// Whether askers leave out what is theirs. One that lost it must not, and whoever moves a cursor always asks alike.
    pub excludes: bool,
    pub migrates: bool,
    /// How sessions behave.
    pub session: session::Config,
}

impl Plan {
    pub fn new(random: &mut Random) -> Self {
        let copies = *random.pick(&[2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 8]);
        let links = topology(copies, random);
        let calm = random.chance(25);
        let mut kinds = vec![(30, Kind::Write), (45, Kind::Deliver)];
        let mut may = |percent, weight, kind| {
            if random.chance(percent) {
                kinds.push((weight, kind));
            }
        };
        may(90, 15, Kind::Pull);
        may(40, 12, Kind::Stream);
        may(50, 12, Kind::Push);
        may(50, 10, Kind::AskVersions);
        may(50, 10, Kind::Broadcast);
        may(30, 5, Kind::Relay);
        may(if calm { 0 } else { 40 }, 3, Kind::Crash);
        may(30, 2, Kind::Copy);
        may(20, 2, Kind::BeginAgain);
        may(if calm { 0 } else { 30 }, 3, Kind::Partition);
        if random.chance(15) {
            kinds.extend([(3, Kind::BackUp), (2, Kind::Restore)]);
        }
        let relapses = random.chance(5);
        if relapses {
            kinds.retain(|(_, kind)| !matches!(kind, Kind::Copy | Kind::Restore | Kind::Push));
            kinds.extend([(3, Kind::BackUp), (2, Kind::Relapse)]);
        }
        let sessions = random.chance(20) && !relapses;
        if sessions {
            if random.chance(60) {
                kinds.retain(|(_, kind)| !kind.is_of_exchange());
            }
            kinds.extend([(20, Kind::Deliver), (15, Kind::Connect), (10, Kind::Wake)]);
        }
        let migrates = random.chance(15) && !relapses;
        if migrates {
            kinds.push((2, Kind::Migrate));
        }
        let way = match (sessions, relapses) {
            (true, _) => Way::Sessions,
            (_, true) => *random.pick(&[Way::Cursors, Way::Cursors, Way::Versions]),
            _ => *random.pick(&[Way::Cursors, Way::Cursors, Way::Pushes, Way::Versions, Way::Mixed]),
        };
        let refuses = kinds.iter().any(|(_, kind)| *kind == Kind::Push) && random.chance(50);
        if refuses {
            kinds.extend([(30, Kind::Push), (4, Kind::Retry)]);
        }
        // A push leaves out what is the receiver's.
        let pushes = matches!(way, Way::Pushes | Way::Mixed) || kinds.iter().any(|(_, kind)| *kind == Kind::Push);
        Self {
            tables: random.within(0..5),
            copies,
            links,
            steps: random.within(20..81),
            kinds,
            way,
            json: random.chance(10),
            small_pages: random.chance(60),
            reorders: random.chance(50),
            drops: if calm { 0 } else { *random.pick(&[0, 5, 20]) },
            repeats: if calm { 0 } else { *random.pick(&[0, 5, 20]) },
            faults: if random.chance(30) { 15 } else { 0 },
            refuses: if refuses { 50 } else { 0 },
            known: random.chance(30),
            excludes: pushes || sessions || (!relapses && random.chance(60)),
            migrates,
            session: session::Config::default(),
        }
        .with_sessions(random)
    }

    fn with_sessions(mut self, random: &mut Random) -> Self {
        self.session = session::Config {
            credit: *random.pick(&[1, 2, 8]),
            page: self.page(random),
            patience: Duration::from_millis(*random.pick(&[150, 1000])),
            grace: Duration::from_millis(*random.pick(&[0, 50, 500])),
            needs: *random.pick(&[1, 3, 100]),
        };
        self
    }

    pub fn page(&self, random: &mut Random) -> Page {
        if !self.small_pages || random.chance(10) {
            return Page::default();
        }
        if random.chance(15) {
            return Page { bytes: random.within(1..600), ..Page::default() };
        }
        Page { changes: random.within(1..11), ..Page::default() }
    }
}

/// Pairs of copies, so that all are connected.
fn topology(copies: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let mut links: Vec<(usize, usize)> = match random.within(0..5) {
        0 => (1..copies).map(|copy| (copy - 1, copy)).collect(),
        1 => (1..copies).map(|copy| (0, copy)).collect(),
        2 => (0..copies).map(|copy| (copy, (copy + 1) % copies)).collect(),
        3 => (1..copies).flat_map(|a| (0..a).map(move |b| (b, a))).collect(),
        _ => {
            let mut links: Vec<_> = (1..copies).map(|copy| (random.within(0..copy), copy)).collect();
            links.extend((0..copies / 2).map(|_| (random.within(0..copies), random.within(0..copies))));
            links
        }
    };
    links.retain(|(a, b)| a != b);
    links
}
