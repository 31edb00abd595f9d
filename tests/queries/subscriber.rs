//! A partial copy that follows its queries, and what is true each time that it asks.

use crsql_sync::crr::Version;
use crsql_sync::sync::{Position, RowFilters};

use super::incremental::{answer_to, ask_for, asking_as, id, is_empty, rows};
use super::*;

pub(super) struct Subscriber {
    name: String,
    pub(super) queries: Vec<Sql>,
    filters: Option<RowFilters>,
    seen: Option<Position>,
    pub(super) copy: Replica,
    told: Version,
}

/// What came of asking.
pub(super) struct Asked {
    pub(super) had_news: bool,
    pub(super) ran: bool,
}

impl Subscriber {
    pub(super) fn new(name: String, copy: Replica, queries: Vec<Sql>, filters: Option<RowFilters>) -> Self {
        Self { name, queries, filters, seen: None, copy, told: Version::ZERO }
    }

    /// Asks for what is new. Without news there is nothing, and what the queries are thought to read is what they do read.
    pub(super) fn ask(&mut self, full: &mut Replica, context: impl Fn() -> String) -> Asked {
        let before = full.query_runs();
        let news = full.news().unwrap();
        let had_news = news.is_for(&id(&self.name), self.told);
        self.told = news.at();
        let request = self.request(&self.name, self.seen);
        let answer = ask_for(full, &request, &mut self.seen);
        assert!(had_news || is_empty(&answer), "it has news and says that it has none\n{}", context());
        self.copy.apply_answer(&self.name, &answer, true).unwrap();
        let ran = full.query_runs() > before;
        // One who begins now is sent what the queries are thought to read, and one who asks once what they do read.
        let anew = self.request(&format!("{} anew", self.name), None);
        let thought = rows(&answer_to(full, &anew));
        let read = rows(&answer_to(full, &QueriesRequest { subscription: None, ..anew }));
        assert_eq!(thought, read, "{}", context());
        Asked { had_news, ran }
    }

    fn request(&self, name: &str, seen: Option<Position>) -> QueriesRequest {
        QueriesRequest { filters: self.filters.clone(), ..asking_as(name, seen, &self.queries) }
    }
}
