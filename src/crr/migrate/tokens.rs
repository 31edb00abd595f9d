//! SQL texts taken apart, so that texts that differ in spelling only are equal.

use std::ops::Range;

/// A token: a name or keyword in lower case and without quotes, or anything else as it is written.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    /// Whether it may be a keyword: a word without quotes.
    is_word: bool,
    /// Where it stands.
    pub(super) range: Range<usize>,
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

    fn is_mark(&self, mark: &str) -> bool {
        !self.is_word && self.text == mark
    }
}

/// Takes an SQL text apart, by SQLite's rules for tokens. Comments and space are nothing.
pub(super) fn tokens(sql: &str) -> Vec<Token> {
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

/// What a `CREATE TABLE` says.
#[derive(Debug, Default)]
pub(super) struct Definition {
    /// Names in lower case, and what is said of them, the name first.
    pub(super) columns: Vec<(String, Vec<Token>)>,
    constraints: Vec<Vec<Token>>,
    options: Vec<Token>,
}

impl Definition {
    pub(super) fn parse(sql: &str) -> Self {
        let tokens = tokens(sql);
        let mut definition = Self::default();
        let Some(open) = tokens.iter().position(|token| token.is_mark("(")) else { return definition };
        let (mut depth, mut part, mut at) = (0, Vec::new(), open);
        for token in tokens.get(open..).unwrap_or_default() {
            at += 1;
            if token.is_mark(")") {
                depth -= 1;
            }
            if depth == 0 && token.is_mark(")") || depth == 1 && token.is_mark(",") {
                definition.add(std::mem::take(&mut part));
            } else if depth > 0 {
                part.push(token.clone());
            }
            if token.is_mark("(") {
                depth += 1;
            }
            if depth == 0 {
                break;
            }
        }
        definition.options = tokens.get(at..).unwrap_or_default().to_vec();
        definition
    }

    fn add(&mut self, part: Vec<Token>) {
        match part.first() {
            Some(first) if first.is_any(&["constraint", "primary", "unique", "check", "foreign"]) => {
                self.constraints.push(part);
            }
            Some(first) => self.columns.push((first.text.clone(), part)),
            None => {}
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&[Token]> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, tokens)| tokens.as_slice())
    }

    /// The columns of the primary key, in its order.
    pub(super) fn pks(&self) -> Vec<&str> {
        let constraint = self.constraints.iter().find_map(|tokens| {
            let at = tokens.iter().position(|token| token.is("primary"))?;
            tokens
                .get(at..)?
                .split(|token| token.is_mark("(") || token.is_mark(","))
                .skip(1)
                .map(|part| part.first().map(|token| token.text.as_str()))
                .collect::<Option<Vec<_>>>()
        });
        let column =
            || self.columns.iter().filter(|(_, tokens)| tokens.iter().skip(1).any(|token| token.is("primary")));
        constraint.unwrap_or_else(|| column().map(|(name, _)| name.as_str()).collect())
    }

    /// Whether all but the columns is the same.
    pub(super) fn has_rules_of(&self, other: &Self) -> bool {
        self.options == other.options
            && self.constraints.len() == other.constraints.len()
            && self.constraints.iter().all(|constraint| other.constraints.contains(constraint))
    }
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
    fn a_definition_is_its_columns_and_the_rest() {
        let sql = "CREATE TABLE t (a DEFAULT (max(1, 2)), \"check\" TEXT, CHECK (a > 0), PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID";
        let definition = Definition::parse(sql);
        let columns: Vec<_> = definition.columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(columns, ["a", "check"]);
        assert_eq!(definition.constraints.len(), 2);
        assert_eq!(definition.options.len(), 4);
    }

    #[test]
    fn what_does_not_end_is_read_to_its_end() {
        for sql in ["'a", "\"a", "[a", "/* a", "-- a", "CREATE TABLE t (a", "("] {
            let _ = (tokens(sql), Definition::parse(sql));
        }
    }
}
