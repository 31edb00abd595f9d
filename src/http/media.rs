//! The two forms of a batch, and how callers say which one they send and want.

use http::{HeaderMap, HeaderName, header};

use super::problem::{Code, Problem};
use crate::sync::Batch;

/// The media type of a batch in its binary form.
pub const BATCH_MEDIA_TYPE: &str = "application/vnd.crsql-sync.batch";
/// The media type of a database as a file (registered with IANA).
pub(super) const SQLITE: &str = "application/vnd.sqlite3";
/// The media type of everything else.
pub(super) const JSON: &str = "application/json";

/// The form of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Binary,
}

impl Form {
    /// The form that `accept` prefers. The binary one must be preferred or named: a caller that takes anything is a
    /// person, mostly. JSON also where neither is welcome, since an answer that says what it is helps more than none.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let (json, binary) = (Welcome::of(JSON, headers), Welcome::of(BATCH_MEDIA_TYPE, headers));
        let is_named = binary.specificity == Specificity::Exact && binary.quality > 0;
        if binary.quality > json.quality || (binary.quality == json.quality && is_named) {
            Self::Binary
        } else {
            Self::Json
        }
    }

    /// The form of a body, by `content-type`.
    pub(super) fn of_body(headers: &HeaderMap) -> Result<Self, Problem> {
        let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(JSON) {
            Ok(Self::Json)
        } else if essence.eq_ignore_ascii_case(BATCH_MEDIA_TYPE) {
            Ok(Self::Binary)
        } else {
            let detail = format!("send a batch as {JSON} or {BATCH_MEDIA_TYPE}, and say so in content-type");
            let taken = "application/json, application/vnd.crsql-sync.batch";
            Err(Problem::new(Code::UnsupportedMediaType, detail).accepting(header::ACCEPT, taken))
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Binary => BATCH_MEDIA_TYPE,
        }
    }

    pub(super) fn encode(self, batch: &Batch) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Json => serde_json::to_vec(batch).map_err(|error| Problem::internal(&error)),
            Self::Binary => Ok(batch.to_binary()),
        }
    }
}

/// How welcome a media type is: the most specific range that takes it in counts (RFC 9110, 12.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Welcome {
    specificity: Specificity,
    /// In thousandths.
    quality: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Nothing,
    Any,
    Type,
    Exact,
}

impl Welcome {
    /// What `accept` says of `media_type`. Without that header, everything is welcome.
    fn of(media_type: &str, headers: &HeaderMap) -> Self {
        if !headers.contains_key(header::ACCEPT) {
            return Self { specificity: Specificity::Any, quality: 1000 };
        }
        let ranges = values(headers, &header::ACCEPT).filter_map(|range| Self::by_range(media_type, range));
        ranges.max().unwrap_or(Self { specificity: Specificity::Nothing, quality: 0 })
    }

    /// What one range says, if it takes the type in.
    fn by_range(media_type: &str, range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let is_same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let specificity = if name == "*/*" {
            Specificity::Any
        } else if is_same(name, media_type) {
            Specificity::Exact
        } else if let (Some(kind), Some((own, _))) = (name.strip_suffix("/*"), media_type.split_once('/'))
            && is_same(kind, own)
        {
            Specificity::Type
        } else {
            return None;
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(Self { specificity, quality: weight.map_or(Some(1000), thousandths)? })
    }
}

/// A weight, which has three decimals at most (RFC 9110, 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole.min(1) * 1000 + decimals).map(|thousandths| thousandths.min(1000))
}

/// The members of a header that is a list.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Form {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        Form::wanted(&headers)
    }

    #[test]
    fn the_binary_form_is_sent_to_those_who_ask_for_it() {
        for accept in [
            "application/vnd.crsql-sync.batch",
            "Application/Vnd.Crsql-Sync.Batch",
            "application/json, application/vnd.crsql-sync.batch",
            "application/json;q=0.5, application/vnd.crsql-sync.batch;q=0.6",
            "*/*, application/vnd.crsql-sync.batch",
            "application/*, application/json;q=0.9",
            "application/vnd.crsql-sync.batch; q=0.001, text/html",
        ] {
            assert_eq!(wanted(accept), Form::Binary, "{accept}");
        }
    }

    #[test]
    fn all_others_are_sent_json() {
        assert_eq!(Form::wanted(&HeaderMap::new()), Form::Json);
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "text/html, image/*;q=0.8",
            "application/vnd.crsql-sync.batch;q=0",
            "application/vnd.crsql-sync.batch;q=0, */*",
            "application/json, application/vnd.crsql-sync.batch;q=0.9",
            "application/vnd.crsql-sync.batch;q=x",
            "application/vnd.crsql-sync.batch.v2",
            ";;,,/*",
        ] {
            assert_eq!(wanted(accept), Form::Json, "{accept}");
        }
    }

    #[test]
    fn lines_of_one_header_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, "application/json;q=0.5".parse().unwrap());
        headers.append(header::ACCEPT, BATCH_MEDIA_TYPE.parse().unwrap());
        assert_eq!(Form::wanted(&headers), Form::Binary);
    }
}
