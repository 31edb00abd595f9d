use std::collections::HashSet;

use thiserror::Error;

use super::auth::Operation;

/// Where the operations stand: a prefix, and below it `/{dbid}` and `/{dbid}/NAME`.
///
/// Prefix and names are made of `[A-Za-z0-9._~-]` and slashes, and no two operations share a path and a method, so a router
/// can always be built from a value of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    prefix: String,
    names: Vec<Route>,
    /// Below `/{dbid}`, where what is subscribed to at the upstream stands.
    subscriptions: String,
}

/// An operation, its method, and its name below `/{dbid}`; one with an empty name stands at `/{dbid}` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    operation: Operation,
    method: &'static str,
    name: String,
}

/// A prefix or name that cannot stand in a path, or one name for two operations.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidRoutes(String);

/// The operations with their methods and names.
const DEFAULT: [(Operation, &str, &str); 15] = [
    (Operation::Create, "PUT", ""),
    (Operation::Migrate, "POST", "migrate"),
    (Operation::ApplyChanges, "POST", "changes"),
    (Operation::GetChanges, "GET", "changes"),
    (Operation::RequestChanges, "POST", "changes/request"),
    (Operation::ChangesForQueries, "POST", "changes/query"),
    (Operation::EndSubscription, "DELETE", "changes/query"),
    (Operation::Verify, "POST", "verify"),
    (Operation::Events, "GET", "events"),
    (Operation::Ticket, "POST", "ticket"),
    (Operation::Status, "GET", "status"),
    (Operation::Sql, "POST", "sql"),
    (Operation::Upstream, "PUT", "upstream"),
    (Operation::ExportFile, "GET", "file"),
    (Operation::ImportFile, "PUT", "file"),
];

/// A part of the operation `upstream` with routes of its own.
const SUBSCRIPTIONS: &str = "upstream/subscriptions";

impl Default for Routes {
    fn default() -> Self {
        let route = |(operation, method, name): (_, _, &str)| Route { operation, method, name: name.into() };
        Self { prefix: "/sync".into(), names: DEFAULT.map(route).into(), subscriptions: SUBSCRIPTIONS.into() }
    }
}

impl Routes {
    /// Sets the prefix, such as `/sync`; empty for none.
    pub fn prefix(mut self, prefix: &str) -> Result<Self, InvalidRoutes> {
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() {
            self.prefix = String::new();
        } else {
            self.prefix = format!("/{}", checked(prefix)?);
        }
        Ok(self)
    }

    /// Renames an operation, which is known by its name in the protocol, such as `getChanges`, or by its default route, such as
    /// `changes`: that renames every operation that stands there.
    pub fn rename(mut self, operation: &str, name: &str) -> Result<Self, InvalidRoutes> {
        let name = checked(name.trim_matches('/'))?;
        let is_meant = |(known, _, default): &&(Operation, &str, &str)| {
            known.as_str() == operation || (!default.is_empty() && *default == operation)
        };
        let meant: Vec<Operation> = DEFAULT.iter().filter(is_meant).map(|(operation, ..)| *operation).collect();
        if operation == SUBSCRIPTIONS {
            name.clone_into(&mut self.subscriptions);
        } else if meant.is_empty() {
            let names = DEFAULT.map(|(operation, ..)| operation.as_str());
            return Err(InvalidRoutes(format!("there is no operation {operation:?} but {}", names.join(", "))));
        }
        for route in self.names.iter_mut().filter(|route| meant.contains(&route.operation)) {
            name.clone_into(&mut route.name);
        }
        let place = |route: &Route| (route.method, route.name.clone());
        let mut taken = HashSet::from([("GET", self.subscriptions.clone())]);
        if self.names.iter().all(|route| taken.insert(place(route))) {
            Ok(self)
        } else {
            Err(InvalidRoutes(format!("two operations of one method cannot both be at {name:?}")))
        }
    }

    /// The prefix, with a slash before it and none after it; empty for none.
    pub fn as_prefix(&self) -> &str {
        &self.prefix
    }

    /// Each operation with its method and its path below the prefix, where `{dbid}` stands for the database's id.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, &'static str, String)> {
        let one = format!("{}/{{id}}", self.subscriptions());
        let of_upstream = [("GET", self.subscriptions()), ("GET", one.clone()), ("PUT", one.clone()), ("DELETE", one)];
        let of_upstream = of_upstream.into_iter().map(|(method, path)| (Operation::Upstream, method, path));
        let operations = self.names.iter().map(|route| (route.operation, route.method, self.path(route.operation)));
        operations.chain(of_upstream)
    }

    /// Where all subscriptions to the upstream stand, below the prefix. Each of them stands below that.
    pub(super) fn subscriptions(&self) -> String {
        format!("/{{dbid}}/{}", self.subscriptions)
    }

    /// The path of an operation below the prefix, for axum.
    pub(super) fn path(&self, operation: Operation) -> String {
        match self.names.iter().find(|route| route.operation == operation) {
            Some(Route { name, .. }) if !name.is_empty() => format!("/{{dbid}}/{name}"),
            _ => "/{dbid}".into(),
        }
    }
}

fn checked(path: &str) -> Result<&str, InvalidRoutes> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
    let segment =
        |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(allowed);
    if path.split('/').all(segment) {
        Ok(path)
    } else {
        Err(InvalidRoutes(format!("{path:?} cannot be a path; use letters, digits, '.', '_', '~', '-' and '/'")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_can_be_moved_and_renamed() {
        let routes = Routes::default().prefix("api/v1/").unwrap().rename("events", "stream").unwrap();
        assert_eq!(routes.as_prefix(), "/api/v1");
        assert_eq!(routes.path(Operation::Events), "/{dbid}/stream");
        assert_eq!(routes.path(Operation::Create), "/{dbid}");
        assert_eq!(Routes::default().prefix("/").unwrap().as_prefix(), "");
    }

    #[test]
    fn operations_on_one_route_can_be_told_apart() {
        let both = Routes::default().rename("changes", "delta").unwrap();
        assert_eq!(both.path(Operation::ApplyChanges), "/{dbid}/delta");
        assert_eq!(both.path(Operation::GetChanges), "/{dbid}/delta");
        assert_eq!(both.path(Operation::RequestChanges), "/{dbid}/changes/request");
        let one = Routes::default().rename("applyChanges", "push").unwrap();
        assert_eq!(one.path(Operation::ApplyChanges), "/{dbid}/push");
        assert_eq!(one.path(Operation::GetChanges), "/{dbid}/changes");
        let created = Routes::default().rename("createDatabaseIfNotExists", "create").unwrap();
        assert_eq!(created.path(Operation::Create), "/{dbid}/create");
        let subscribed = Routes::default().rename("upstream/subscriptions", "wanted").unwrap();
        assert_eq!(subscribed.subscriptions(), "/{dbid}/wanted");
        let one_path_two_methods = Routes::default().rename("getChanges", "sql").unwrap();
        assert_eq!(one_path_two_methods.path(Operation::GetChanges), one_path_two_methods.path(Operation::Sql));
    }

    #[test]
    fn routes_that_no_router_could_take_are_refused() {
        let routes = Routes::default;
        assert!(routes().prefix("/{x}").is_err());
        assert!(routes().prefix("/a//b").is_err());
        assert!(routes().prefix("/..").is_err());
        assert!(routes().rename("events", "").is_err());
        assert!(routes().rename("events", "status").is_err());
        assert!(routes().rename("verify", "sql").is_err());
        assert!(routes().rename("", "x").is_err());
        assert!(routes().rename("nothing", "x").is_err());
        assert!(routes().rename("getChanges", "upstream/subscriptions").is_err());
        assert!(routes().rename("upstream/subscriptions", "status").is_err());
    }
}
