//! SQL texts taken apart, so that texts that differ in spelling only are equal.

use std::ops::Range;

/// A token: a name or keyword in lower case and without quotes, or anything else as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(super) text: String,
    /// Whether it may be a keyword: a word without quotes.
    is_word: bool,
    /// Where it stands.
    pub(crate) range: Range<usize>,
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Token {
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.is_word && self.text == keyword
    }

    pub(super) fn is_any(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(keyword))
    }

    pub(crate) fn is_mark(&self, mark: &str) -> bool {
        !self.is_word && self.text == mark
    }
}

/// Takes an SQL text apart, by SQLite's rules for tokens. Comments and space are nothing.
pub(crate) fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let start = sql.len() - rest.len();
        let length = match first {
            _ if first.is_ascii_whitespace() => first.len_utf8(),
            '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |end| end + 1),
            '/' if rest.starts_with("/*") => rest.get(2..).and_then(|r| r.find("*/")).map_or(rest.len(), |end| end + 4),
            '\'' | '"' | '`' => quoted_length(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            _ if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (text, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        let is_space = first.is_ascii_whitespace() || text.starts_with("--") || text.starts_with("/*");
        if !is_space {
            let is_word = is_of_word(first);
            let text = match first {
                '"' | '`' => unquoted(text, first).to_ascii_lowercase(),
                '[' => text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase(),
                _ if is_word => text.to_ascii_lowercase(),
                _ => text.to_owned(),
            };
            tokens.push(Token { text, is_word, range: start..start + length });
        }
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || c == '.' || !c.is_ascii()
}

/// The length of the quoted text that `text` begins with. A quote that stands twice is part of it.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut from = 1;
    while let Some(end) = text.get(from..).and_then(|rest| rest.find(quote)) {
        from += end + 1;
        if !text.get(from..).is_some_and(|rest| rest.starts_with(quote)) {
            return from;
        }
        from += 1;
    }
    text.len()
}

fn unquoted(text: &str, quote: char) -> String {
    let inner = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)).unwrap_or(text);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}

/// What stands behind the columns in a `CREATE TABLE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) strict: bool,
    pub(super) without_rowid: bool,
}

/// Reads the options of a table.
pub(super) fn options(sql: &str) -> Options {
    let tokens = tokens(sql);
    let end = tokens.iter().rposition(|token| token.is_mark(")")).map_or(tokens.len(), |at| at + 1);
    let has = |word| tokens.iter().skip(end).any(|token| token.is(word));
    Options { strict: has("strict"), without_rowid: has("without") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        tokens(sql).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn spelling_makes_no_difference() {
        assert_eq!(tokens("CREATE TABLE \"A\" (b  INT)"), tokens("create table [a]\n(`B` int -- c\n/* d */)"));
    }

    #[test]
    fn quotes_within_quotes_and_texts_are_kept() {
        assert_eq!(texts(r#""a""b" 'It''s' 'X'"#), [r#"a"b"#, "'It''s'", "'X'"]);
    }

    #[test]
    fn options_are_what_stands_behind_the_columns() {
        for (sql, strict, without_rowid) in [
            ("CREATE TABLE t (a)", false, false),
            ("CREATE TABLE strict (without, \")\" CHECK (a > ')'))/* strict */", false, false),
            ("create table t (a) without /* x */ rowid, Strict -- y", true, true),
            ("CREATE TABLE t (a) STRICT", true, false),
        ] {
            assert_eq!(options(sql), Options { strict, without_rowid }, "{sql}");
        }
    }

    #[test]
    fn what_does_not_end_is_read_to_its_end() {
        for sql in ["'a", "\"a", "[a", "/* a", "-- a", "CREATE TABLE t (a", "("] {
            let _ = tokens(sql);
        }
    }
}
