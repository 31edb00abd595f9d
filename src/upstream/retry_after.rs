use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// How long the upstream asks to be left alone: in seconds, or until a date.
///
/// A date is held against the upstream's own, which stands in the answer: this host's clock may be wrong.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let now = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(now);
    Some(until.duration_since(now).unwrap_or_default())
}

/// The time as the standard library has it, which does not know it in a browser.
fn now() -> SystemTime {
    let since_1970 = web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + since_1970.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(header::HeaderName, String)]) -> Option<Duration> {
        retry_after(&pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect())
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(asked(&[(header::RETRY_AFTER, "120".into())]), seconds(120));
        let date = |time| (header::DATE, format!("Sun, 06 Nov 1994 {time} GMT"));
        let after = |time| (header::RETRY_AFTER, format!("Sun, 06 Nov 1994 {time} GMT"));
        assert_eq!(asked(&[date("08:49:37"), after("08:50:07")]), seconds(30));
        assert_eq!(asked(&[date("08:49:37"), after("08:49:00")]), seconds(0));
        let soon = httpdate::fmt_http_date(now() + Duration::from_secs(100));
        let left = asked(&[(header::RETRY_AFTER, soon)]).unwrap();
        assert!(left > Duration::from_secs(90) && left <= Duration::from_secs(100), "{left:?}");
    }

    #[test]
    fn what_is_neither_asks_for_nothing() {
        for text in ["", "-1", "soon", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT", "99999999999999999999999"] {
            assert_eq!(asked(&[(header::RETRY_AFTER, text.into())]), None, "{text}");
        }
        assert_eq!(asked(&[]), None);
    }
}
