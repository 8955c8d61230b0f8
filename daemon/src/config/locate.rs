//! From the TOML reader's error to a [`Fault`]: which field it is about, and
//! which valid name was probably meant.

use super::fault::{Fault, Faults, Source};
use serde_spanned::Spanned;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The faults behind one reader's error: all of them when the text is not
/// TOML, the first one when it does not fit its type.
pub(super) fn faults(source: &Source, error: &toml::de::Error) -> Faults {
    let (root, syntax) = DeTable::parse_recoverable(source.text());
    if syntax.is_empty() {
        return one(source, error, Some(root.get_ref())).into();
    }
    syntax.iter().map(|error| one(source, error, None)).collect()
}

fn one(source: &Source, error: &toml::de::Error, root: Option<&DeTable<'_>>) -> Fault {
    let message = error.message().trim().replace('\n', "; ");
    let Some(span) = error.span() else {
        return source.fault_of_file("", message, "");
    };
    let mut place = Place { span, field: String::new() };
    if let Some(root) = root {
        place = place.in_table(root, unknown_name(&message));
    }
    let hint = if root.is_none() {
        String::from("the file is not valid TOML here")
    } else {
        meant(&message).map(|name| format!("did you mean `{name}`?")).unwrap_or_default()
    };
    source.fault(place.span, place.field, message, hint)
}

/// The name that the reader did not know, from its own words.
fn unknown_name(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("unknown variant `"))?;
    rest.split('`').next()
}

/// A byte range and the path of the value that holds it.
struct Place {
    span: Range<usize>,
    field: String,
}

impl Place {
    /// Walks down to the deepest key or value that holds the span. Some types
    /// (tagged enums) only report their whole table: there the unknown key
    /// itself is looked up.
    fn in_table(mut self, table: &DeTable<'_>, unknown: Option<&str>) -> Self {
        for (key, value) in table {
            let on_key = contains(&key.span(), &self.span);
            if on_key || holds(value, &self.span) {
                self.field = join(&self.field, key.get_ref());
                return if on_key { self } else { self.in_value(value, unknown) };
            }
        }
        self.on_unknown(table, unknown)
    }

    fn in_value(mut self, value: &Spanned<DeValue<'_>>, unknown: Option<&str>) -> Self {
        match value.get_ref() {
            DeValue::Table(table) => self.in_table(table, unknown),
            DeValue::Array(items) => {
                let found = items.iter().enumerate().find(|(_, item)| holds(item, &self.span));
                let Some((at, item)) = found else { return self };
                self.field = format!("{}[{at}]", self.field);
                self.in_value(item, unknown)
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => self,
        }
    }

    fn on_unknown(mut self, table: &DeTable<'_>, unknown: Option<&str>) -> Self {
        if let Some((key, _)) =
            table.iter().find(|(key, _)| Some(key.get_ref().as_ref()) == unknown)
        {
            self.span = key.span();
            self.field = join(&self.field, key.get_ref());
        }
        self
    }
}

fn join(field: &str, key: &str) -> String {
    if field.is_empty() { key.into() } else { format!("{field}.{key}") }
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// Whether the span lies in the value itself or in anything below it: a table's
/// own span is only its header.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    contains(&value.span(), span)
        || match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().any(|(key, value)| contains(&key.span(), span) || holds(value, span))
            }
            DeValue::Array(items) => items.iter().any(|item| holds(item, span)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => false,
        }
}

/// The valid name nearest to an unknown one, from the reader's own message:
/// "unknown field `x`, expected one of `a`, `b`".
fn meant(message: &str) -> Option<&str> {
    let unknown = unknown_name(message)?;
    let (_, expected) = message.split_once("expected ")?;
    let names = expected.split('`').skip(1).step_by(2);
    let nearest = names.map(|name| (distance(unknown, name), name)).min()?;
    // A third of the letters may differ; beyond that a guess misleads.
    (nearest.0 * 3 <= unknown.chars().count().max(3)).then_some(nearest.1)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
