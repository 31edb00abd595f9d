use thiserror::Error;

use super::auth::Operation;

/// Where the operations stand: a prefix, and below it `/{dbid}` and `/{dbid}/NAME`.
///
/// Prefix and names are made of `[A-Za-z0-9._~-]` and slashes, and no two operations share a path, so a router can always
/// be built from a value of this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    prefix: String,
    names: [(Operation, String); 6],
}

/// A prefix or name that cannot stand in a path, or one name for two operations.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidRoutes(String);

impl Default for Routes {
    fn default() -> Self {
        let names = [
            (Operation::GetChanges, "changes"),
            (Operation::Events, "events"),
            (Operation::Ticket, "ticket"),
            (Operation::Status, "status"),
            (Operation::Sql, "sql"),
            (Operation::Upstream, "upstream"),
        ];
        Self { prefix: "/sync".into(), names: names.map(|(operation, name)| (operation, name.into())) }
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

    /// Renames an operation: one of `changes`, `events`, `ticket`, `status`, `sql`, `upstream`.
    pub fn rename(mut self, operation: &str, name: &str) -> Result<Self, InvalidRoutes> {
        let name = checked(name.trim_matches('/'))?;
        let defaults = Self::default();
        let known = defaults.names.iter().find(|(_, default)| default == operation);
        let Some((operation, _)) = known else {
            let names: Vec<_> = defaults.names.iter().map(|(_, name)| name.as_str()).collect();
            return Err(InvalidRoutes(format!("there is no route {operation:?} but {}", names.join(", "))));
        };
        for (other, taken) in &mut self.names {
            if other == operation {
                *taken = name.to_owned();
            } else if taken == name {
                return Err(InvalidRoutes(format!("two operations cannot both be at {name:?}")));
            }
        }
        Ok(self)
    }

    /// The prefix, with a slash before it and none after it; empty for none.
    pub fn as_prefix(&self) -> &str {
        &self.prefix
    }

    /// The path of an operation below the prefix, for axum.
    pub(super) fn path(&self, operation: Operation) -> String {
        match self.names.iter().find(|(other, _)| *other == operation) {
            Some((_, name)) => format!("/{{dbid}}/{name}"),
            None => "/{dbid}".into(),
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
    fn routes_that_no_router_could_take_are_refused() {
        let routes = Routes::default;
        assert!(routes().prefix("/{x}").is_err());
        assert!(routes().prefix("/a//b").is_err());
        assert!(routes().prefix("/..").is_err());
        assert!(routes().rename("events", "").is_err());
        assert!(routes().rename("events", "sql").is_err());
        assert!(routes().rename("nothing", "x").is_err());
    }
}
