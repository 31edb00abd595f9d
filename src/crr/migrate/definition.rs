//! What a `CREATE TABLE` says, so that two that differ in spelling only are equal.

use super::super::tokens::{Token, tokens};

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
        for sql in ["CREATE TABLE t (a", "("] {
            let _ = Definition::parse(sql);
        }
    }
}
