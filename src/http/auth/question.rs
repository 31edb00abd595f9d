use std::collections::BTreeMap;

use http::header::COOKIE;
use serde::Serialize;

use super::Access;

/// What a hook in another language or program is told of a request, as JSON.
#[derive(Serialize)]
pub(crate) struct Question<'a> {
    operation: &'static str,
    dbid: &'a str,
    site: Option<String>,
    method: &'a str,
    /// One value a name, as a browser's `Headers` has them.
    headers: BTreeMap<String, String>,
    /// Left out on hosts that do not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    sql: &'a [String],
}

impl Access {
    /// The question that it is.
    pub(crate) fn question(&self) -> Question<'_> {
        let mut headers = BTreeMap::<_, String>::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let all = headers.entry(name.to_string()).or_default();
            if !all.is_empty() {
                // HTTP/2 may send each cookie by itself (RFC 9113, 8.2.3).
                all.push_str(if *name == COOKIE { "; " } else { ", " });
            }
            all.push_str(&value);
        }
        Question {
            operation: self.operation.as_str(),
            dbid: self.dbid.as_str(),
            site: self.site.map(|site| site.to_string()),
            method: self.method.as_str(),
            headers,
            peer: self.peer.map(|peer| peer.to_string()),
            sql: &self.sql,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use serde_json::json;

    use super::*;
    use crate::http::Operation;
    use crate::store::Dbid;

    #[test]
    fn headers_that_came_in_parts_are_joined() {
        let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in [
            header("cookie", b"a=1"),
            header("x-roles", b"reader"),
            header("cookie", b"b=2"),
            header("x-roles", b"writer"),
            header("x-name", b"\xff"),
        ] {
            headers.append(name, value);
        }
        let access = Access {
            operation: Operation::Status,
            dbid: Dbid::new("todo").unwrap(),
            site: None,
            method: Method::GET,
            headers,
            peer: None,
            sql: Vec::new(),
        };
        let told = json!({
            "operation": "status", "dbid": "todo", "site": null, "method": "GET", "sql": [],
            "headers": { "cookie": "a=1; b=2", "x-name": "\u{fffd}", "x-roles": "reader, writer" },
        });
        assert_eq!(json!(access.question()), told);
    }
}
