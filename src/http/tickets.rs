//! Tickets for event streams: for callers that cannot set a header, such as a page's `EventSource`.
//!
//! A token in a URL ends up in logs and histories. A ticket may: it opens one stream of one database, once, within seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use web_time::Instant;

use super::auth::Bounds;
use super::problem::{Code, Problem};
use crate::store::Dbid;

/// How many tickets may wait to be used. A caller that asks for more is told to come back.
const MOST: usize = 10_000;
/// How many of them one principal may have, so that it leaves some to others. Callers without a name are one.
const MOST_EACH: usize = 1_000;

/// The tickets of one router that wait to be used.
#[derive(Clone, Default)]
pub(super) struct Tickets(Arc<Mutex<HashMap<Name, Held>>>);

/// A ticket's hash: looking one up by it takes no time that tells how much of a guess was right.
type Name = [u8; 32];

/// What a ticket is good for.
struct Held {
    dbid: Dbid,
    bounds: Bounds,
    ends: Instant,
}

impl Tickets {
    /// A ticket for one stream of `dbid`, within `bounds`.
    pub(super) fn issue(&self, dbid: Dbid, bounds: Bounds, lifetime: Duration) -> Result<String, Problem> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| Problem::internal(&error))?;
        let ticket = hex::encode(secret);
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tickets.retain(|_, held| held.ends > now);
        let own = tickets.values().filter(|held| held.bounds.principal == bounds.principal).count();
        if tickets.len() >= MOST || own >= MOST_EACH {
            return Err(Problem::new(Code::Unavailable, "too many tickets wait to be used"));
        }
        tickets.insert(name(&ticket), Held { dbid, bounds, ends: now + lifetime });
        Ok(ticket)
    }

    /// What the ticket allows. It is worth nothing afterwards, whatever it was shown for.
    pub(super) fn redeem(&self, ticket: &str, dbid: &Dbid) -> Result<Bounds, Problem> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name(ticket));
        match held {
            Some(held) if held.dbid == *dbid && held.ends > Instant::now() => Ok(held.bounds),
            _ => Err(Problem::new(
                Code::Unauthorized,
                "the ticket is not good for this stream, or no longer; get another",
            )),
        }
    }
}

fn name(ticket: &str) -> Name {
    Sha256::digest(ticket).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_tickets_wait_and_late_ones_make_room() {
        let (tickets, dbid) = (Tickets::default(), Dbid::new("a").unwrap());
        let issue = |principal: usize, lifetime| {
            tickets.issue(dbid.clone(), Bounds::NONE.principal(principal.to_string()), Duration::from_secs(lifetime))
        };
        for n in 0..MOST {
            issue(n, 0).unwrap();
        }
        let good = issue(0, 60).unwrap();
        for n in 1..MOST {
            issue(n, 60).unwrap();
        }
        assert_eq!(issue(MOST, 60).unwrap_err().code(), Code::Unavailable);
        tickets.redeem(&good, &dbid).unwrap();
        issue(MOST, 60).unwrap();
    }

    #[test]
    fn one_principal_leaves_tickets_to_others() {
        let (tickets, dbid) = (Tickets::default(), Dbid::new("a").unwrap());
        let issue = |bounds| tickets.issue(dbid.clone(), bounds, Duration::from_secs(60));
        let greedy = || Bounds::NONE.principal("greedy");
        let first = issue(greedy()).unwrap();
        for _ in 1..MOST_EACH {
            issue(greedy()).unwrap();
        }
        assert_eq!(issue(greedy()).unwrap_err().code(), Code::Unavailable);
        issue(Bounds::NONE.principal("ann")).unwrap();
        issue(Bounds::NONE).unwrap();
        tickets.redeem(&first, &dbid).unwrap();
        issue(greedy()).unwrap();
    }
}
